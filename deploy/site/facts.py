"""What is there now: asked of the engine and of the edge, never remembered."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core.errors import MachineFailed, OpsError
from deploy.core.model import COLOURS, Container, EdgeFacts, Facts
from deploy.edge import nginx, switch
from deploy.hosts.host import Host
from deploy.state.store import State


def observe(settings: Settings, host: Host) -> Facts:
    """Look at one environment on one host."""
    state, containers = State(host, settings.state_dir), host.engine.containers(settings.name)
    known = edge(settings, host, containers)
    accepted, unrecorded = standing(state, known.release)
    return Facts(containers, known, state.schema(), host.engine.resources(), host.engine.one_offs(settings.name), accepted, unrecorded)


def standing(state: State, serving: str | None) -> tuple[str | None, bool]:
    """Return the release that was accepted last, and whether one serves of which no record says that it was accepted.

    For a ledger that is damaged or gone the journal stands in: it has what served when a command began that was cut off.
    """
    ledger = state.read_ledger()
    if ledger.accepted or not serving:
        return ledger.accepted, False
    cut, damaged = state.intention(), not ledger.whole or state.once_served()
    first = cut is not None and cut.target == serving
    recalled = None if not (cut and damaged) else cut.serving if first else serving
    return recalled, not recalled and (damaged or not (first or state.host.front))


def edge(settings: Settings, host: Host, containers: tuple[Container, ...]) -> EdgeFacts:
    """Ask the edge what it serves; while it is down, or was told to serve what was never proven, read what was proven last.

    Behind another host's edge it is that one which is asked: it names the port of a colour, whatever container has it.
    """
    if host.front:
        known = edge(settings, host.front, host.front.engine.containers(settings.name))
        named = tuple(c.name for c in containers if c.role == "web" and c.colour == known.colour)
        return replace(known, members=named, running=False, expected=False, unproven=0, front=host.front.name)
    running = any(c.role == "edge" and c.state == "running" for c in containers)
    unproven = switch.unproven(settings, host)
    said = served(settings, host) if running and not unproven else None
    if said:
        upstreams = switch.route_of(settings, host, said.generation).upstreams
        return replace(said, members=members(settings, host, said, containers), upstreams=upstreams)
    own = settings.hosts.get(host.name)
    expected = own is None or "edge" in own.roles
    try:
        known = configured(nginx.folder(settings), host, running, own=expected)
    except OpsError as unreadable:
        known = supposed(settings, host, containers, unproven if running else None, unreadable)
    return replace(known, running=running, unproven=unproven, expected=expected)


def members(settings: Settings, host: Host, known: EdgeFacts, containers: Iterable[Container]) -> tuple[str, ...]:
    """Name the containers that a running edge names: by its generation's files; where those are gone by what runs."""
    if recorded := switch.route_of(settings, host, known.generation).members:
        return recorded
    running = [c for c in containers if c.role == "web" and c.alive]
    return tuple(c.name for c in running if (c.colour, c.release) == (known.colour, known.release))


def supposed(
    settings: Settings, host: Host, containers: Sequence[Container], unproven: int | None, unreadable: OpsError
) -> EdgeFacts:  # fmt: skip
    """Tell without route.json what is in service: by the edge, unless it is down (None) or serves what was `unproven`, or by what runs.

    What runs tells it where just one colour has web services, all of one release; raise where that is not so.
    """
    said = served(settings, host) if unproven is not None else None
    if said and said.generation != unproven:
        return replace(said, members=members(settings, host, said, containers))
    web = [c for c in containers if c.role == "web" and c.colour]
    places = {(c.colour, c.release) for c in web if c.alive} or {(c.colour, c.release) for c in web}
    if len(places) != 1:
        edge = next((c.name for c in containers if c.role == "edge"), "")
        unreadable.then = f"{host.typed(f'docker start {edge}')}: a running edge says it itself" if edge else unreadable.then
        raise unreadable
    colour, release = places.pop()
    target = host.pointed(nginx.folder(settings) / switch.PROVEN) or host.pointed(nginx.folder(settings) / switch.CURRENT) or ""
    number = Path(target).name
    named = tuple(c.name for c in web if (c.colour, c.release) == (colour, release))
    return EdgeFacts(generation=int(number) if number.isdecimal() else 0, colour=colour, release=release, members=named)


def served(settings: Settings, host: Host) -> EdgeFacts | None:
    """Read the generation that the running edge answers with; None when it does not answer."""
    status, body = host.get(settings.edge.probe_port, "/generation")
    if status != 200:
        return None
    with suppress(ValueError, KeyError, TypeError, RecursionError):  # another program has the port
        known = json.loads(body)
        return plausible(EdgeFacts(True, known["generation"], known["colour"] or None, known["release"] or None, known["maintenance"]))
    return None


def plausible(known: EdgeFacts) -> EdgeFacts:
    """Return facts that were read from JSON; raise TypeError where they have another shape."""
    fits = isinstance(known.generation, int) and isinstance(known.maintenance, bool) and known.colour in (None, *COLOURS)
    if not fits or not isinstance(known.release, str | None) or not all(isinstance(name, str) for name in known.members):
        raise TypeError
    return known


def configured(folder: Path, host: Host, running: bool, *, own: bool = False) -> EdgeFacts:
    """Read the generation that was proven last; nothing where a host gets an `own` edge, and had only the word of what serves."""
    target = host.pointed(folder / switch.PROVEN) or host.pointed(folder / switch.CURRENT)
    bare = own and target and "nginx.conf" not in host.names(folder / target)
    kept = switch.recorded(host, folder / target) if target and not bare else (0, nginx.Route())
    if not kept:
        place = f"{host.name}: {folder / str(target) / 'route.json'}"
        raise OpsError("route.json cannot be read, by which what served is known", where=place, then="restore that file")
    generation, route = kept
    return EdgeFacts(running, generation, route.colour, route.release, route.maintenance, route.members, upstreams=route.upstreams)


def observe_all(at: Environment) -> dict[str, Facts]:
    """Look at an environment on all its hosts."""
    return at.each(lambda host: observe(at.settings, host))


def serving(at: Environment) -> str:
    """Say what answers requests now, hosts that serve the same in one breath; also to one who has lost the lock."""
    said, guards = dict[str, list[str]](), {host: host.guard for host in at.hosts}
    for host in guards:
        host.guard = ()
    try:
        found = at.each(lambda host: serving_on(at.settings, host))
    finally:
        for host, guard in guards.items():
            host.guard = guard
    for name, words in found.items():
        said.setdefault(words, []).append(name)
    return "; ".join(said) if len(at.hosts) == 1 else "; ".join(f"{', '.join(names)}: {words}" for words, names in said.items())


def serving_on(settings: Settings, host: Host) -> str:
    """Say what answers requests on one host; with the engine away the edge itself is asked."""
    try:
        return observe(settings, host).serving
    except Exception as error:  # noqa: BLE001  # it is asked for while another error is told
        with suppress(OpsError, OSError):
            if known := served(settings, host):
                return Facts(edge=known).serving
        return f"not known: {getattr(error, 'what', error)}".partition("\n")[0]


@contextmanager
def telling(at: Environment) -> Iterator[None]:
    """Let an error that passes say what serves now, unless it says so already."""
    try:
        yield
    except OpsError as error:
        error.serves = error.serves or serving(at)
        raise
    except OSError as error:
        failed = MachineFailed(error, str(at.settings.state_dir))
        failed.serves = serving(at)
        raise failed from None
