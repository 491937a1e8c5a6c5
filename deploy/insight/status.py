"""Which release serves, and how its services are."""

from __future__ import annotations

from deploy import console, lock
from deploy.hosts.host import Host
from deploy.model import Container, Facts
from deploy.settings import Settings
from deploy.state import State


def show(settings: Settings, host: Host, *, json: bool) -> None:
    """Show one environment's state."""
    from deploy.rollout.facts import observe

    state = State(host, settings.state_dir)
    facts, held = observe(settings, host, state), lock.holder(settings.state_dir)
    cut_off = None if held else state.intention()
    if json:
        told = {"command": cut_off.command, "release": cut_off.target, "since": cut_off.since} if cut_off else None
        console.document({**document(settings, host, facts), "interrupted": told})
        return
    console.say(f"{settings.name}: {facts.serving}")
    if held:
        console.say(held[1])
    if cut_off:
        console.warn(f"{cut_off.command} of {cut_off.target} was cut off ({cut_off.since}): inv resume goes on, inv abort goes back")
    rows = [[c.service, c.colour or "shared", c.state, health(c) or "-", c.release or "-"] for c in facts.containers]
    if rows:
        console.table(["service", "colour", "state", "health", "release"], rows)
    for c in facts.containers:
        if c.out_of_memory:
            console.warn(f"{c.name}: a process was killed at the memory limit; inv logs {c.service}, or raise its mem_limit")


def health(container: Container) -> str | None:
    """Return what its health check says; None for one without, or for one that does not run (the engine says unhealthy)."""
    return container.health or None if container.state == "running" else None


def document(settings: Settings, host: Host, facts: Facts) -> dict[str, object]:
    """Return the state as the command contract has it."""
    services = [
        {"name": c.service, "colour": c.colour or None, "state": c.state, "health": health(c), "image": c.image,
         "out_of_memory": c.out_of_memory}
        for c in facts.containers
    ]  # fmt: skip
    return {
        "env": settings.env,
        "release": facts.edge.release,
        "colour": facts.edge.colour,
        "hosts": [{"name": host.name, "services": services, "edge": {"running": facts.edge.running, "generation": facts.edge.generation}}],
    }
