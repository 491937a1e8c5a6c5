"""Show which release serves, and how its services are."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from deploy.backups import isolated
from deploy.backups.points import EvidenceFile
from deploy.backups.show import Standing, standing
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, acting
from deploy.core.model import Container, EdgeFacts, Facts
from deploy.hosts import fleet
from deploy.hosts.host import Host
from deploy.rollout.health import through_edge
from deploy.rollout.lineage import watch_of
from deploy.site import rebuild
from deploy.site.facts import observe
from deploy.site.interrupted import interruptions
from deploy.state import locks
from deploy.state.store import state_of


def show(at: Environment, *, json: bool) -> None:
    """Show an environment's state on all its hosts; raise unreachable hosts' errors once the others are shown."""
    observed, unreachable = observe_reachable(at)
    hosts = [host for host in at.hosts if host.name in observed]
    edges = [host for host in hosts if observed[host.name].edge.running and observed[host.name].edge.release]
    asked = at.each(lambda host: edge_answers(at, host, observed[host.name]), edges)
    watches = at.each(lambda host: watch_of(state_of(at, host), observed[host.name].edge.release), hosts)
    holders = [
        one for held in at.each(lambda host: locks.holders(host, at.settings.state_dir), hosts).values() for one in held
    ]
    backups = at.each(lambda host: backup_of(at, host, observed[host.name]), hosts)
    changing = any(holder.lock == "change" for holder in holders)
    left = [] if changing else [*interruptions(at, hosts).values()]
    if json:
        cut = left[0].newest if left else None
        interrupted = {"command": cut.command, "release": cut.target, "since": cut.since} if cut else None
        saved = next((own.document for own in backups.values() if own), None)
        state = document(at.settings, observed, unreachable, asked, watches)
        console.document({**state, "interrupted": interrupted, "backup": saved})
    else:
        print_state(at, observed, unreachable, watches)
        warn_of_errors(asked)
        for own in filter(None, backups.values()):
            console.say(acting(own.words, at.settings.env))
        for words in sorted({holder.words for holder in holders}):
            console.say(words)
        for one in left:
            console.warn(acting(f"{one}: inv resume goes on, inv abort goes back", at.settings.env))
    fleet.raise_unreachable(unreachable, documented=json)


def backup_of(at: Environment, host: Host, facts: Facts) -> Standing | None:
    """Return when a host took and restored a recovery point last; None where its release has no backup service."""
    with suppress(OpsError):
        state, release = state_of(at, host), facts.edge.release or ""
        for service in state.release(release).of("backup") if release else ():
            given = isolated.environment(state.text(release, "shared.yml"), service.name)
            places = filter(None, map(given.get, ("RESTIC_REPOSITORY", "BACKUP_OFFSITE")))
            return standing(EvidenceFile(host, at.settings.state_dir).lines(), *places)
    return None


def warn_of_errors(asked: Mapping[str, Mapping[str, int]]) -> None:
    """Warn of each service that answers with an error through a host's edge."""
    for name, services in asked.items():
        for service, status in services.items():
            if status != 200:
                answer = f"{service} answers {status or 'nothing'} through its edge"
                console.warn(f"visitors of {name} get errors: {answer}")


def observe_reachable(at: Environment) -> tuple[dict[str, Facts], dict[str, OpsError]]:
    """Return the facts of every reachable host, and the others' errors.

    Hosts behind another's dead edge are in both: their containers are observed.
    """
    observed, unreachable = at.gather(lambda host: observe(at.settings, host))
    fronts = {host.name: host.front.name for host in at.hosts if host.front and host.name in unreachable}
    behind = [host for host in at.hosts if host.name in fronts]
    running, _ = at.gather(lambda host: host.engine.containers(at.settings.name), behind)
    edges = {name: EdgeFacts(expected=False, front=fronts[name]) for name in running}
    observed |= {name: Facts(containers, edges[name]) for name, containers in running.items()}
    return {host.name: observed[host.name] for host in at.hosts if host.name in observed}, unreachable


def edge_answers(at: Environment, host: Host, facts: Facts) -> dict[str, int]:
    """Ask each web service's health through a host's edge; return the status by name, 0 where nothing answered."""
    with suppress(OpsError):
        release = rebuild.release(state_of(at, host), str(facts.edge.release), facts.containers)
        return through_edge(at.settings, host, str(facts.edge.colour), release)
    return {}


def print_state(
    at: Environment, observed: Mapping[str, Facts], unreachable: Mapping[str, OpsError], watches: Mapping[str, str]
) -> None:
    """Say what serves, and how each service is."""
    many = len(at.hosts) > 1
    for name, facts in observed.items():
        dead = facts.edge.front in unreachable
        watch = f", watch: {watches[name]}" if watches.get(name) else ""
        unknown = f"unknown while {facts.edge.front} does not answer" if dead else "unknown"
        serving = unknown if dead or name in unreachable else facts.serving
        console.say(f"{at.settings.name}{f' on {name}' if many else ''}: {serving}{watch}")
    rows = {
        name: [
            [
                c.service + (f"-{c.number}" if c.number > 1 else ""),
                c.colour or "shared",
                c.state,
                health(c) or "-",
                c.release or "-",
            ]
            for c in facts.containers
        ]
        for name, facts in observed.items()
    }
    console.table_of(["service", "colour", "state", "health", "release"], rows, several=many)
    for facts in observed.values():
        for c in facts.containers:
            if c.out_of_memory:
                text = (
                    f"{c.name}: a process was killed at the memory limit; inv logs {c.service}, or raise its mem_limit"
                )
                console.warn(acting(text, at.settings.env))


def health(container: Container) -> str | None:
    """Return the result of its health check; None without one, or while it does not run (the engine says unhealthy)."""
    return container.health or None if container.state == "running" else None


def document(
    settings: Settings,
    observed: Mapping[str, Facts],
    unreachable: Mapping[str, OpsError],
    asked: Mapping[str, Mapping[str, int]],
    watches: Mapping[str, str],
) -> dict[str, object]:
    """Return the state as the command contract has it; release and colour are null where hosts differ."""
    hosts = [
        {
            "name": name,
            "release": facts.edge.release,
            "watch": watches.get(name, ""),
            "services": [
                {
                    "name": c.service,
                    "colour": c.colour or None,
                    "state": c.state,
                    "health": health(c),
                    "image": c.image,
                    "out_of_memory": c.out_of_memory,
                }
                for c in facts.containers
            ],
            "edge": {
                "running": facts.edge.running,
                "generation": facts.edge.generation,
                "maintenance": facts.edge.maintenance,
                "answers": all(status == 200 for status in asked[name].values()) if name in asked else None,
            },
        }
        for name, facts in observed.items()
    ]
    edges = [facts.edge for name, facts in observed.items() if name not in unreachable]
    releases, colours = {edge.release for edge in edges}, {edge.colour for edge in edges}
    errors = {name: error.document for name, error in unreachable.items()}
    return {
        "env": settings.env,
        "release": releases.pop() if len(releases) == 1 else None,
        "colour": colours.pop() if len(colours) == 1 else None,
        "watch": max(watches.values(), default=""),  # as text the worst is the greatest
        "hosts": hosts,
        **({"unreachable": errors} if errors else {}),
    }
