"""Which containers stand for a service."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress

from deploy.errors import Refused
from deploy.hosts.host import Host
from deploy.model import Container, Facts
from deploy.settings import Settings, nearest
from deploy.state import State


def find(settings: Settings, host: Host, names: Collection[str] = ()) -> dict[str, Container]:
    """Return the containers of the named services, of every service when none is named, by what to call them.

    Raises Refused naming all services that have none.
    """
    from deploy.rollout.facts import observe

    state = State(host, settings.state_dir)
    facts = observe(settings, host, state)
    known = sorted({c.service for c in facts.containers})
    found = {name: choose(facts, name) for name in names or known}
    missing = [name for name in names if not found[name]]
    if missing or not found:
        raise absent(settings, missing, known, jobs(state, facts.edge.release))
    return {(c.service if len(own) == 1 else f"{c.service}-{c.number}"): c for own in found.values() for c in own}


def choose(facts: Facts, service: str) -> list[Container]:
    """Return the containers of a service that serve, those that run first; else what there is."""
    own = sorted((c for c in facts.containers if c.service == service), key=lambda c: not c.alive)
    return [c for c in own if c.colour in ("", facts.edge.colour)] or own


def jobs(state: State, release: str | None) -> set[str]:
    """Name the jobs of a release: their containers are gone when they end."""
    with suppress(Refused):
        return {service.name for service in state.bundle(release).release.of("job")} if release else set()
    return set()


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
