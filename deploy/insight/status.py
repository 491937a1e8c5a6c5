"""Which release serves, and how its services are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, acting
from deploy.core.model import Container, EdgeFacts, Facts
from deploy.hosts import fleet
from deploy.hosts.host import Host
from deploy.rollout import recovery
from deploy.rollout.health import through_edge
from deploy.rollout.lineage import watch_of
from deploy.site import rebuild
from deploy.site.facts import observe
from deploy.state import lock
from deploy.state.store import state_of


def show(at: Environment, *, json: bool) -> None:
    """Show one environment's state on all its hosts; a host that cannot be reached is said, and the others are shown."""
    seen, unseen = look(at)
    hosts = [host for host in at.hosts if host.name in seen]
    edges = [host for host in hosts if seen[host.name].edge.running and seen[host.name].edge.release]
    asked = at.each(lambda host: visited(at, host, seen[host.name]), edges)
    watches = at.each(lambda host: watch_of(state_of(at, host), seen[host.name].edge.release), hosts)
    held = {holder.words for holder in at.each(lambda host: lock.holder(host, at.settings.state_dir), hosts).values() if holder}
    left = None if held else next(iter(recovery.cut_off(at, hosts).values()), None)
    if json:
        interrupted = {"command": left.command, "release": left.target, "since": left.since} if left else None
        console.document({**document(at.settings, seen, unseen, asked, watches), "interrupted": interrupted})
    else:
        tell(at, seen, unseen, watches)
        for name, services in asked.items():
            for service, status in services.items():
                if status != 200:
                    console.warn(f"visitors of {name} get errors: {service} answers {status or 'nothing'} through its edge")
        for words in sorted(held):
            console.say(words)
        if left:
            words = f"{left.command} of {left.target} was cut off ({left.since}): inv resume goes on, inv abort goes back"
            console.warn(acting(words, at.settings.env))
    fleet.tell(unseen, documented=json)


def look(at: Environment) -> tuple[dict[str, Facts], dict[str, OpsError]]:
    """Observe every host; what cannot be seen comes second. Hosts behind a dead edge are in both: their containers are seen."""
    seen, unseen = at.some(lambda host: observe(at.settings, host))
    fronts = {host.name: host.front.name for host in at.hosts if host.front and host.name in unseen}
    behind = [host for host in at.hosts if host.name in fronts]
    there, _ = at.some(lambda host: host.engine.containers(at.settings.name), behind)
    seen |= {name: Facts(containers, EdgeFacts(expected=False, front=fronts[name])) for name, containers in there.items()}
    return {host.name: seen[host.name] for host in at.hosts if host.name in seen}, unseen


def visited(at: Environment, host: Host, facts: Facts) -> dict[str, int]:
    """Ask for each web service's health as the edge of a host passes it on; return the status by name, 0 where nothing answered."""
    with suppress(OpsError):
        release = rebuild.release(state_of(at, host), str(facts.edge.release), facts.containers)
        return through_edge(at.settings, host, str(facts.edge.colour), release)
    return {}


def tell(at: Environment, seen: Mapping[str, Facts], unseen: Mapping[str, OpsError], watches: Mapping[str, str]) -> None:
    """Say what serves, and how each service is."""
    many = len(at.hosts) > 1
    for name, facts in seen.items():
        dead = facts.edge.front in unseen
        watch = f", watch: {watches[name]}" if watches.get(name) else ""
        serving = f"not known while {facts.edge.front} does not answer" if dead else "not known" if name in unseen else facts.serving
        console.say(f"{at.settings.name}{f' on {name}' if many else ''}: {serving}{watch}")
    rows = {
        name: [
            [c.service + (f"-{c.number}" if c.number > 1 else ""), c.colour or "shared", c.state, health(c) or "-", c.release or "-"]
            for c in facts.containers
        ]
        for name, facts in seen.items()
    }
    console.table_of(["service", "colour", "state", "health", "release"], rows, several=many)
    for facts in seen.values():
        for c in facts.containers:
            if c.out_of_memory:
                words = f"{c.name}: a process was killed at the memory limit; inv logs {c.service}, or raise its mem_limit"
                console.warn(acting(words, at.settings.env))


def health(container: Container) -> str | None:
    """Return what its health check says; None for one without, or for one that does not run (the engine says unhealthy)."""
    return container.health or None if container.state == "running" else None


def document(
    settings: Settings, seen: Mapping[str, Facts], unseen: Mapping[str, OpsError], asked: Mapping[str, Mapping[str, int]],
    watches: Mapping[str, str],
) -> dict[str, object]:  # fmt: skip
    """Return the state as the command contract has it; release and colour are null where hosts differ."""
    hosts = [
        {
            "name": name,
            "release": facts.edge.release,
            "watch": watches.get(name, ""),
            "services": [
                {"name": c.service, "colour": c.colour or None, "state": c.state, "health": health(c), "image": c.image,
                 "out_of_memory": c.out_of_memory}
                for c in facts.containers
            ],
            "edge": {"running": facts.edge.running, "generation": facts.edge.generation, "maintenance": facts.edge.maintenance,
                     "answers": all(status == 200 for status in asked[name].values()) if name in asked else None},
        }
        for name, facts in seen.items()
    ]  # fmt: skip
    edges = [facts.edge for name, facts in seen.items() if name not in unseen]
    releases, colours = {edge.release for edge in edges}, {edge.colour for edge in edges}
    return {
        "env": settings.env,
        "release": releases.pop() if len(releases) == 1 else None,
        "colour": colours.pop() if len(colours) == 1 else None,
        "watch": max(watches.values(), default=""),  # as text the worst is the greatest
        "hosts": hosts,
        **({"unseen": {name: error.document for name, error in unseen.items()}} if unseen else {}),
    }
