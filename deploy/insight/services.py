"""Which containers stand for a service."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core.errors import OpsError, Refused, nearest
from deploy.core.model import Container, Facts
from deploy.hosts import fleet
from deploy.hosts.host import Host
from deploy.site.facts import observe
from deploy.state.store import state_of


@dataclass(frozen=True)
class Found:
    """A container, and the host that it is on."""

    host: Host
    container: Container

    @property
    def place(self) -> str:
        """What no other container has: its host's name and its own."""
        return f"{self.host.name}/{self.container.name}"


def find(at: Environment, names: Collection[str] = ()) -> tuple[dict[str, Found], dict[str, OpsError]]:
    """Return the containers of the named services, of every service when none is named, by what to call them; then hosts not seen.

    Raises Refused naming all services that have none on any host, or what kept from seeing hosts where some may be.
    """
    seen, unseen = at.some(lambda host: observe(at.settings, host))
    known = sorted({c.service for facts in seen.values() for c in facts.containers})
    hosts = [host for host in at.hosts if host.name in seen]
    found = {name: [Found(host, c) for host in hosts for c in choose(seen[host.name], name)] for name in names or known}
    missing = [name for name in names if not found[name]]
    if not any(found.values()):
        fleet.tell(unseen)
    if not unseen and (missing or not found):
        raise absent(at.settings, missing, known, jobs(at, seen))
    return {called(one, own, many=len(at.hosts) > 1): one for own in found.values() for one in own}, unseen


def called(one: Found, own: Collection[Found], *, many: bool) -> str:
    """Name a container by its service, its number where there are several, and its host where there are several. Pure."""
    several = sum(other.host == one.host for other in own) > 1
    name = f"{one.container.service}-{one.container.number}" if several else one.container.service
    return f"{one.host.name} {name}" if many else name


def choose(facts: Facts, service: str) -> list[Container]:
    """Return the containers of a service that serve, those that run first; else what there is."""
    own = sorted((c for c in facts.containers if c.service == service), key=lambda c: not c.alive)
    return [c for c in own if c.colour in ("", facts.edge.colour)] or own


def jobs(at: Environment, seen: Mapping[str, Facts]) -> set[str]:
    """Name the jobs of the releases that serve: their containers are gone when they end."""
    named = set[str]()
    for host in at.hosts:
        with suppress(OpsError):
            if release := seen[host.name].edge.release:
                named |= {service.name for service in state_of(at, host).release(release).of("job")}
    return named


def absent(settings: Settings, missing: list[str], known: list[str], jobs: set[str]) -> Refused:
    """Say why services have no container, and what there is instead."""
    if not known:
        return Refused(f"nothing runs in {settings.name}", where=settings.name, then="inv deploy starts it")
    reasons = [
        f"`{name}` is a job: its container is removed when it ends. When a job fails, its last lines are in the output of that inv deploy"
        if name in jobs
        else f"there is no container of a service `{name}`{nearest(name, known)}"
        for name in missing
    ]
    return Refused("\n".join(reasons), where=settings.name, then=f"one of: {', '.join(known)}")
