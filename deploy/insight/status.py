"""Which release serves, and how its services are."""

from __future__ import annotations

from collections.abc import Mapping

from deploy import console, lock
from deploy.environment import Environment
from deploy.errors import OpsError, acting
from deploy.fleet import together
from deploy.hosts.host import Host
from deploy.model import Container, Facts
from deploy.settings import Settings


def show(at: Environment, *, json: bool) -> None:
    """Show one environment's state on all its hosts; a host that cannot be reached is said, and the others are shown."""
    seen, unseen = look(at)
    states = {host.name: at.state(host) for host in at.hosts if host.name in seen}
    held = {name: holder for name, state in states.items() if (holder := lock.holder(state.host, state.folder))}
    cut_off = None if held else next(filter(None, (state.intention() for state in states.values())), None)
    if json:
        interrupted = {"command": cut_off.command, "release": cut_off.target, "since": cut_off.since} if cut_off else None
        console.document({**document(at.settings, seen, unseen), "interrupted": interrupted})
    else:
        tell(at, seen)
        for words in dict.fromkeys(found.words for found in held.values()):
            console.say(words)
        if cut_off:
            words = f"{cut_off.command} of {cut_off.target} was cut off ({cut_off.since}): inv resume goes on, inv abort goes back"
            console.warn(acting(words, at.settings.env))
    if unseen:
        failed = together(unseen)
        failed.documented = json
        raise failed


def look(at: Environment) -> tuple[dict[str, Facts], dict[str, OpsError]]:
    """Observe every host; what cannot be seen comes second."""
    from deploy.rollout.facts import observe

    def seen(host: Host) -> Facts | OpsError:
        try:
            return observe(at.settings, host, at.state(host))
        except OpsError as error:
            return error

    found = at.each(seen)
    unseen = {name: known for name, known in found.items() if isinstance(known, OpsError)}
    return {name: known for name, known in found.items() if isinstance(known, Facts)}, unseen


def tell(at: Environment, seen: Mapping[str, Facts]) -> None:
    """Say what serves, and how each service is."""
    many = len(at.hosts) > 1
    for name, facts in seen.items():
        console.say(f"{at.settings.name}{f' on {name}' if many else ''}: {facts.serving}")
    rows = {
        name: [[c.service, c.colour or "shared", c.state, health(c) or "-", c.release or "-"] for c in facts.containers]
        for name, facts in seen.items()
    }
    console.table_of(["service", "colour", "state", "health", "release"], rows, several=many)
    for facts in seen.values():
        for c in facts.containers:
            if c.out_of_memory:
                console.warn(f"{c.name}: a process was killed at the memory limit; inv logs {c.service}, or raise its mem_limit")


def health(container: Container) -> str | None:
    """Return what its health check says; None for one without, or for one that does not run (the engine says unhealthy)."""
    return container.health or None if container.state == "running" else None


def document(settings: Settings, seen: Mapping[str, Facts], unseen: Mapping[str, OpsError]) -> dict[str, object]:
    """Return the state as the command contract has it; release and colour are null where hosts differ."""
    hosts = [
        {
            "name": name,
            "release": facts.edge.release,
            "services": [
                {"name": c.service, "colour": c.colour or None, "state": c.state, "health": health(c), "image": c.image,
                 "out_of_memory": c.out_of_memory}
                for c in facts.containers
            ],
            "edge": {"running": facts.edge.running, "generation": facts.edge.generation},
        }
        for name, facts in seen.items()
    ]  # fmt: skip
    releases, colours = ({getattr(facts.edge, key) for facts in seen.values()} for key in ("release", "colour"))
    return {
        "env": settings.env,
        "release": releases.pop() if len(releases) == 1 else None,
        "colour": colours.pop() if len(colours) == 1 else None,
        "hosts": hosts,
        **({"unseen": {name: error.document for name, error in unseen.items()}} if unseen else {}),
    }
