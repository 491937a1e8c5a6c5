"""Observe what is there now, by asking the engine and the edge; nothing is remembered."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core.errors import MachineFailed, OpsError
from deploy.core.facts import Container, EdgeFacts, Facts
from deploy.core.model import COLOURS
from deploy.edge import nginx
from deploy.edge.folder import CURRENT, PROVEN, RECORD, EdgeFolder, edge_path
from deploy.hosts.host import Host
from deploy.state.store import Ledger, State


def observe(settings: Settings, host: Host) -> Facts:
    """Observe one environment on one host."""
    state, engine = State(host, settings.state_dir), host.engine
    containers = engine.containers(settings.name)
    questions: tuple[Callable[[], Any], ...] = (
        lambda: observe_edge(settings, host, containers), state.read_ledger, state.schema, engine.resources,
        lambda: engine.one_offs(settings.name),
    )  # fmt: skip
    serving, ledger, schema, resources, orphans = host.concurrently(*questions)
    accepted, unrecorded = accepted_release(state, ledger, serving.release)
    frame = ledger.last.frame if ledger.last else ""
    return Facts(containers, serving, schema, resources, orphans, accepted, unrecorded, frame)


def accepted_release(state: State, ledger: Ledger, serving: str | None) -> tuple[str | None, bool]:
    """Return the release that was accepted last, and whether one serves of which no record says that it was accepted.

    For a ledger that is damaged or gone the journal stands in: it has what served when an interrupted command began.
    """
    if ledger.accepted or not serving:
        return ledger.accepted, False
    interrupted, damaged = state.intention(), not ledger.whole or state.once_served()
    is_its_target = interrupted is not None and interrupted.target == serving
    accepted = None
    if interrupted and damaged:
        accepted = interrupted.serving if is_its_target else serving
    unrecorded = not accepted and (damaged or not (is_its_target or state.host.front))
    return accepted, unrecorded


def observe_edge(settings: Settings, host: Host, containers: tuple[Container, ...]) -> EdgeFacts:
    """Ask the edge what it serves; while it is down, or its configuration was never proven, read what was proven last.

    Behind another host's edge that one is asked; it names the port of a colour, whatever container has the port.
    """
    if host.front:
        front = observe_edge(settings, host.front, host.front.engine.containers(settings.name))
        named = tuple(c.name for c in containers if c.role == "web" and c.colour == front.colour)
        return replace(front, members=named, running=False, expected=False, unproven=0, front=host.front.name)
    running = any(c.role == "edge" and c.state == "running" for c in containers)
    folder = EdgeFolder(settings, host)
    unproven = folder.unproven()
    answer = ask_edge(settings, host) if running and not unproven else None
    if answer:
        route = folder.route(answer.generation)
        named = edge_members(settings, host, answer, containers)
        gone = route == nginx.Route() and not host.readlink(folder.path / CURRENT)
        return replace(answer, members=named, upstreams=route.upstreams, frame=route.frame, forgotten=gone)
    own = settings.hosts.get(host.name)
    expected = own is None or "edge" in own.roles
    try:
        last = read_edge(folder, running, own=expected)
    except OpsError as unreadable:
        last = infer_edge(settings, host, containers, unproven if running else None, unreadable)
    return replace(last, running=running, unproven=unproven, expected=expected)


def edge_members(settings: Settings, host: Host, edge: EdgeFacts, containers: Iterable[Container]) -> tuple[str, ...]:
    """Return the containers that a running edge names, by its generation's files; without these, by what runs."""
    if named := EdgeFolder(settings, host).route(edge.generation).members:
        return named
    running = [c for c in containers if c.role == "web" and c.alive]
    return tuple(c.name for c in running if (c.colour, c.release) == (edge.colour, edge.release))


def infer_edge(
    settings: Settings, host: Host, containers: Sequence[Container], unproven: int | None, unreadable: OpsError
) -> EdgeFacts:  # fmt: skip
    """Infer what serves without route.json: from the edge, unless it is down or `unproven`, or from what runs.

    `unproven` is None where the edge is down. What runs shows it where just one colour has web services, all of one
    release; otherwise `unreadable` is raised.
    """
    answer = ask_edge(settings, host) if unproven is not None else None
    if answer and answer.generation != unproven:
        return replace(answer, members=edge_members(settings, host, answer, containers))
    web = [c for c in containers if c.role == "web" and c.colour]
    places = {(c.colour, c.release) for c in web if c.alive} or {(c.colour, c.release) for c in web}
    if len(places) != 1:
        edge = next((c.name for c in containers if c.role == "edge"), "")
        start = f"{host.command_line(f'docker start {edge}')}: a running edge says it itself"
        unreadable.then = start if edge else unreadable.then
        raise unreadable
    colour, release = places.pop()
    folder = edge_path(settings)
    target = host.readlink(folder / PROVEN) or host.readlink(folder / CURRENT) or ""
    number = Path(target).name
    named = tuple(c.name for c in web if (c.colour, c.release) == (colour, release))
    return EdgeFacts(generation=int(number) if number.isdecimal() else 0, colour=colour, release=release, members=named)


def ask_edge(settings: Settings, host: Host) -> EdgeFacts | None:
    """Read the generation that the running edge answers with; None when it does not answer."""
    status, body = host.get(settings.edge.probe_port, "/generation")
    if status != 200:
        return None
    with suppress(ValueError, KeyError, TypeError, RecursionError):  # another program has the port
        answer = json.loads(body)
        route = answer["colour"] or None, answer["release"] or None, answer["maintenance"]
        return require_shape(EdgeFacts(True, answer["generation"], *route))
    return None


def require_shape(edge: EdgeFacts) -> EdgeFacts:
    """Return facts that were read from JSON; raise TypeError where they have another shape."""
    numbered = isinstance(edge.generation, int) and isinstance(edge.maintenance, bool)
    if not numbered or edge.colour not in (None, *COLOURS) or not isinstance(edge.release, str | None):
        raise TypeError
    return edge


def read_edge(folder: EdgeFolder, running: bool, *, own: bool = False) -> EdgeFacts:
    """Read the generation that was proven last; nothing where a host gets an edge of its `own`, and had none before."""
    host = folder.host
    target = host.readlink(folder.path / PROVEN) or host.readlink(folder.path / CURRENT)
    bare = own and target and "nginx.conf" not in host.listdir(folder.path / target)
    record = folder.read(target) if target and not bare else nginx.Generation(0, nginx.Route())
    if not record:
        place = f"{host.name}: {folder.path / str(target) / RECORD}"
        what = "route.json cannot be read, and nothing else says what served"
        raise OpsError(what, where=place, then="restore that file", slug="edge-record-lost")
    generation, route = record
    return EdgeFacts(
        running, generation, route.colour, route.release, route.maintenance, route.members, upstreams=route.upstreams,
        frame=route.frame,
    )  # fmt: skip


def observe_all(at: Environment) -> dict[str, Facts]:
    """Observe an environment on all its hosts."""
    return at.each(lambda host: observe(at.settings, host))


def what_serves(at: Environment) -> str:
    """Observe what answers requests now, and return it in words; that needs no lock."""
    return summary(at, at.each(lambda host: what_serves_on(at.settings, host)))


def summary(at: Environment, serving: Mapping[str, str]) -> str:
    """Return in words what hosts serve, those that serve the same together. Pure."""
    hosts: dict[str, list[str]] = {}
    for name, words in serving.items():
        hosts.setdefault(words, []).append(name)
    lines = [words if len(at.hosts) == 1 else f"{', '.join(names)}: {words}" for words, names in hosts.items()]
    return "; ".join(lines)


def what_serves_on(settings: Settings, host: Host) -> str:
    """Return in words what answers requests on one host; where the engine does not answer, the edge itself is asked."""
    try:
        return observe(settings, host).serving
    except Exception as error:  # noqa: BLE001  # it is asked for while another error is reported
        with suppress(OpsError, OSError):
            if edge := ask_edge(settings, host):
                return Facts(edge=edge).serving
        return f"not known: {getattr(error, 'what', error)}".partition("\n")[0]


@contextmanager
def naming_what_serves(at: Environment) -> Iterator[None]:
    """Add to an error that passes what serves now, unless it says so already."""
    try:
        yield
    except OpsError as error:
        error.serves = error.serves or what_serves(at)
        raise
    except OSError as error:
        failed = MachineFailed(error, str(at.settings.state_dir))
        failed.serves = what_serves(at)
        raise failed from None
