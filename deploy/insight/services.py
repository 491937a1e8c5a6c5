"""Find the containers of services."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core.errors import OpsError, Refused, nearest
from deploy.core.facts import Container, Facts
from deploy.hosts import fleet
from deploy.hosts.host import Host
from deploy.site.facts import observe
from deploy.state.store import state_of


@dataclass(frozen=True)
class ServiceContainer:
    """A container, and the host that it is on."""

    host: Host
    container: Container

    @property
    def place(self) -> str:
        """A name that no other container has: its host's and its own."""
        return f"{self.host.name}/{self.container.name}"


def find(at: Environment, names: Collection[str] = ()) -> tuple[dict[str, ServiceContainer], dict[str, OpsError]]:
    """Return the containers of the named services, or of all, by their labels; then unreachable hosts' errors.

    Raises Refused (`service-unknown`) naming all services that have none on any host, or an unreachable host's error
    where none was found.
    """
    facts, unreachable = at.gather(lambda host: observe(at.settings, host))
    existing = sorted({c.service for own in facts.values() for c in own.containers})
    hosts = [host for host in at.hosts if host.name in facts]
    containers = {
        name: [ServiceContainer(host, c) for host in hosts for c in choose(facts[host.name], name)]
        for name in names or existing
    }
    missing = [name for name in names if not containers[name]]
    if not any(containers.values()):
        fleet.raise_unreachable(unreachable)
    if not unreachable and (missing or not containers):
        raise no_container(at.settings, missing, existing, jobs(at, facts))
    several = len(at.hosts) > 1
    return {label(one, own, many=several): one for own in containers.values() for one in own}, unreachable


def label(one: ServiceContainer, own: Collection[ServiceContainer], *, many: bool) -> str:
    """Name a container by its service, with its number and its host where there are several. Pure."""
    several = sum(other.host == one.host for other in own) > 1
    name = f"{one.container.service}-{one.container.number}" if several else one.container.service
    return f"{one.host.name} {name}" if many else name


def choose(facts: Facts, service: str) -> list[Container]:
    """Return the containers of a service that serve, running ones first; else all of them."""
    own = sorted((c for c in facts.containers if c.service == service), key=lambda c: not c.alive)
    return [c for c in own if c.colour in ("", facts.edge.colour)] or own


def jobs(at: Environment, facts: Mapping[str, Facts]) -> set[str]:
    """Name the jobs of the releases that serve: their containers are removed when they end."""
    names = set[str]()
    for host in at.hosts:
        with suppress(OpsError):
            if release := facts[host.name].edge.release:
                names |= {service.name for service in state_of(at, host).release(release).of("job")}
    return names


def no_container(settings: Settings, missing: list[str], existing: list[str], jobs: set[str]) -> Refused:
    """Return the error that says why services have no container, and which services have one."""
    if not existing:
        what = f"nothing runs in {settings.name}"
        return Refused(what, where=settings.name, serves="nothing", then="inv deploy starts it", slug="nothing-runs")
    job = "is a job: its container is removed when it ends. When it fails, inv deploy prints its last lines"
    reasons = [
        f"service `{name}` {job if name in jobs else f'has no container{nearest(name, existing)}'}" for name in missing
    ]
    then = f"name one of: {', '.join(existing)}"
    return Refused("\n".join(reasons), where=settings.name, then=then, slug="service-unknown")
