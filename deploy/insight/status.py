"""Which release serves, and how its services are."""

from __future__ import annotations

from deploy import console
from deploy.errors import Refused
from deploy.hosts.local import LocalHost
from deploy.model import Container, Facts
from deploy.settings import Settings
from deploy.shell import docker
from deploy.state import State


def show(settings: Settings, host: LocalHost, *, json: bool) -> None:
    """Show one environment's state."""
    from deploy.rollout.facts import observe

    facts = observe(settings, host, State(host, settings.state_dir))
    if json:
        console.document(document(settings, host, facts))
        return
    console.say(f"{settings.name}: {facts.serving}")
    rows = [[c.service, c.colour or "shared", c.state, health(c) or "-", c.release or "-"] for c in facts.containers]
    if rows:
        console.table(["service", "colour", "state", "health", "release"], rows)


def health(container: Container) -> str | None:
    """Return what its health check says; None for one without, or for one that does not run (the engine says unhealthy)."""
    return container.health or None if container.state == "running" else None


def document(settings: Settings, host: LocalHost, facts: Facts) -> dict[str, object]:
    """Return the state as the command contract has it."""
    services = [
        {"name": c.service, "colour": c.colour or None, "state": c.state, "health": health(c), "image": c.image} for c in facts.containers
    ]
    return {
        "env": settings.env,
        "release": facts.edge.release,
        "colour": facts.edge.colour,
        "hosts": [{"name": host.name, "services": services, "edge": {"running": facts.edge.running, "generation": facts.edge.generation}}],
    }


def logs(settings: Settings, host: LocalHost, service: str, *, follow: bool, tail: int) -> None:
    """Show a service's log; of two colours the one that serves."""
    from deploy.rollout.facts import observe

    facts = observe(settings, host, State(host, settings.state_dir))
    chosen = choose(facts, service)
    if not chosen:
        known = ", ".join(sorted({c.service for c in facts.containers})) or "none: inv deploy starts them"
        raise Refused(f"there is no container of a service `{service}`", where=settings.name, then=f"one of: {known}")
    host.follow(docker("logs", "--tail", str(tail), *(["--follow"] if follow else []), chosen.name))


def choose(facts: Facts, service: str) -> Container | None:
    """Return the container of a service that serves, else any."""
    found = [c for c in facts.containers if c.service == service]
    return next((c for c in found if c.colour in ("", facts.edge.colour)), found[0] if found else None)
