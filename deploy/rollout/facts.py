"""What is there now: asked of the engine and of the edge, never remembered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from deploy.edge import nginx, switch
from deploy.environment import Environment
from deploy.errors import MachineFailed, OpsError
from deploy.hosts.host import Host
from deploy.model import Container, EdgeFacts, Facts
from deploy.settings import Settings
from deploy.state import State


def observe(settings: Settings, host: Host) -> Facts:
    """Look at one environment on one host."""
    state, containers = State(host, settings.state_dir), host.engine.containers(settings.name)
    return Facts(
        containers, edge(settings, host, containers), state.schema(), host.engine.resources(),
        host.engine.one_offs(settings.name), next(iter(state.served()), None),
    )  # fmt: skip


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
        route = switch.route_of(settings, host, said.generation)
        return replace(said, members=route.members, upstreams=route.upstreams)
    own = settings.hosts.get(host.name)
    expected = own is None or "edge" in own.roles
    return replace(configured(nginx.folder(settings), host, running, own=expected), unproven=unproven, expected=expected)


def served(settings: Settings, host: Host) -> EdgeFacts | None:
    """Read the generation that the running edge answers with; None when it does not answer."""
    status, body = host.get(settings.edge.probe_port, "/generation")
    if status != 200:
        return None
    try:
        known = json.loads(body)
        return EdgeFacts(True, known["generation"], known["colour"] or None, known["release"] or None, known["maintenance"])
    except (ValueError, KeyError, TypeError):
        return None  # another program has the port


def configured(folder: Path, host: Host, running: bool, *, own: bool = False) -> EdgeFacts:
    """Read the generation that was proven last; nothing where a host gets an `own` edge, and had only the word of what serves."""
    target = host.pointed(folder / switch.PROVEN) or host.pointed(folder / switch.CURRENT)
    bare = own and target and "nginx.conf" not in host.names(folder / target)
    text = host.read(folder / target / "route.json") if target and not bare else None
    if not text:
        return EdgeFacts(running)
    kept = nginx.read_route(text)
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
