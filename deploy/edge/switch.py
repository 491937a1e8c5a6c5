"""Change what the edge serves: stage, test, rename, reload, prove."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError
from deploy.core.model import WHOLE
from deploy.core.poll import poll, wait_until
from deploy.core.shell import Command, docker
from deploy.edge import frame, nginx, running
from deploy.edge.frame import APP, HEADERS, LOGINS, MAIN, MAINTENANCE, PRIVATE, PROXY, PUBLIC, ROUTES, File, Files
from deploy.hosts.host import Host
from deploy.state import kept
from deploy.state.folder import Folder

# the folder as the edge's container sees it
MOUNTED = "/etc/edge"
# links in the edge's folder: what nginx reads, and what it was seen to serve
CURRENT, PROVEN = "current", "proven"
RECORD = "route.json"
# what the toolkit writes for each generation
GENERATED = ("inner.conf", "upstreams.conf", RECORD)
PROOFS = 3
KEPT_GENERATIONS = 10


def write(settings: Settings, host: Host, files: Files, generation: int, route: nginx.Route) -> None:
    """Write one generation beside the current one, each file with its mode; nothing serves it yet."""
    folder = nginx.folder(settings) / nginx.generation_folder(generation)
    host.remove(folder)  # a failed switch may have left its own under this number
    generated = nginx.generated(generation, route) if files else {}
    record = framed(settings, host, files, route).dump(generation)
    every = {**files, **{name: File(text) for name, text in {**generated, RECORD: record}.items()}}
    host.write_all({folder / name: (file.text, file.mode) for name, file in every.items()})


def framed(settings: Settings, host: Host, files: Files, route: nginx.Route) -> nginx.Route:
    """Add to a route its frame, and the last generation with another one: going back may need that."""
    modes = {name: file.mode for name, file in files.items() if name not in PUBLIC}
    route = replace(route, frame=frame.name_of(files), former=0, modes=modes)
    proven = recorded(host, nginx.folder(settings) / PROVEN)
    if not proven:
        return route
    number, before = proven
    return replace(route, former=before.former if before.frame == route.frame else number)


def route_of(settings: Settings, host: Host, generation: int | None = None) -> nginx.Route:
    """Return what a generation serves, or the proven one; an empty route when it is forgotten or damaged."""
    place = PROVEN if generation is None else nginx.generation_folder(generation)
    return route_at(host, nginx.folder(settings) / place)


def route_at(host: Host, generation: Path) -> nginx.Route:
    """Return what a generation serves; an empty route when it is forgotten or damaged."""
    record = recorded(host, generation)
    return record[1] if record else nginx.Route()


def recorded(host: Host, generation: Path) -> tuple[int, nginx.Route] | None:
    """Read a generation's number and what it serves; None where that was forgotten or cannot be read.

    Where a newer toolkit wrote it, nginx's own files say it, with a warning: they lack what this toolkit cannot know.
    """

    def text(name: str) -> str:
        with suppress(OSError):
            return host.read(generation / name) or ""
        return ""

    try:
        if record := nginx.read_route(text(RECORD)):
            return record
    except kept.NewerFormat:
        newer = kept.too_new(generation / RECORD)
        Folder(host, generation).warn(f"{newer.where}: {newer.what}; what nginx reads stands in for it; {newer.then}")
    generated = nginx.read_generated(text("inner.conf"), text("upstreams.conf"))
    if not generated:
        return None
    number, route = generated
    return number, replace(route, frame=frame.name_of(contents(host, generation, route)))


def require_readable(settings: Settings, host: Host) -> None:
    """Refuse where a newer toolkit wrote what the edge serves, and this one cannot read it."""
    path = nginx.folder(settings) / PROVEN / RECORD
    try:
        nginx.read_route(host.read(path))
    except kept.NewerFormat:
        raise kept.too_new(path) from None
    except OSError:
        return  # damaged is not too new


def contents(host: Host, generation: Path, route: nginx.Route) -> dict[str, File]:
    """Read the files of a generation with their modes, but for those that the toolkit writes for each.

    One whose mode is written down nowhere may hold a key: nobody else reads it.
    """
    names = [name for name in sorted(host.listdir(generation)) if name not in GENERATED and not name.startswith(".")]
    read = host.together(*(partial(host.read, generation / name) for name in names))
    texts = dict(zip(names, read, strict=True))
    modes = {**dict.fromkeys((HEADERS, LOGINS, PROXY), File.mode), **route.modes, **dict.fromkeys(PUBLIC, File.mode)}
    return {name: File(text, modes.get(name, PRIVATE)) for name, text in texts.items() if text is not None}


def read_frame(settings: Settings, host: Host, fingerprint: str = "", *, back: bool = False) -> dict[str, File]:
    """Read the frame that stands, or one before it that has the fingerprint; render it where the host has neither.

    What is rendered is what was planned; raise OpsError where that was edited since. Going `back` no render must fail:
    the frame that stands is kept, with a warning.
    """
    folder = nginx.folder(settings)
    proven = recorded(host, folder / PROVEN)
    earlier = formers(host, folder / "generations", proven[1]) if proven else []
    places = [PROVEN, *map(nginx.generation_folder, earlier)] if proven else []
    split = [
        (route.frame, place) for place in places for _, route in filter(None, [recorded(host, folder / place)])
        if route.frame not in ("", WHOLE)
    ]  # fmt: skip
    for name, place in split:
        if fingerprint in ("", WHOLE, name):
            return own_frame(host, folder / place)
    if back and split:
        console.warn(f"{host.name}: the frame that was accepted is gone; the one that stands is kept")
        return own_frame(host, folder / split[0][1])
    rendered = frame.render(settings)
    if not back and fingerprint not in ("", WHOLE, frame.fingerprint(rendered)):
        what = "the edge's frame is no longer what was planned: its template or the settings were changed since"
        raise OpsError(
            what, where=f"{settings.nginx}/frame.conf.j2", then="inv plan, then inv deploy", slug="edge-frame-changed"
        )
    return rendered


def own_frame(host: Host, generation: Path) -> dict[str, File]:
    """Read the frame of a generation."""
    return frame.own(contents(host, generation, route_at(host, generation)))


def formers(host: Host, folder: Path, route: nginx.Route) -> list[int]:
    """Return the last generation of each frame before, newest first; one of them may have been cut off."""
    numbers: list[int] = []
    while route.former and route.former not in numbers and len(numbers) < KEPT_GENERATIONS:
        numbers.append(route.former)
        route = route_at(host, folder / str(route.former))
    return numbers


def stage(settings: Settings, host: Host, files: Files, generation: int, route: nginx.Route) -> int:
    """Write one generation; on a full disk take an earlier one that serves the same: going back needs no room."""
    try:
        write(settings, host, files, generation, route)
    except OSError:
        route = replace(route, frame=frame.name_of(files))
        folder = nginx.folder(settings) / "generations"
        records = filter(None, (recorded(host, folder / name) for name in host.listdir(folder)))
        earlier = [number for number, former in records if former.served == route.served]
        if not earlier:
            raise
        return max(earlier)
    return generation


def point(settings: Settings, host: Host, target: str, *links: str) -> None:
    """Make links name one generation, each in one rename."""
    for link in links:
        host.symlink(nginx.folder(settings) / link, target)


def switch(settings: Settings, host: Host, edge: str, files: Files, generation: int, route: nginx.Route) -> None:
    """Serve a new generation; on any failure the edge serves what it served."""
    serve(settings, host, edge, stage(settings, host, files, generation, route))


def serve(settings: Settings, host: Host, edge: str, generation: int) -> None:
    """Serve a generation that was written; on any failure the link is put back and the edge serves what it served."""
    target, before = nginx.generation_folder(generation), host.readlink(nginx.folder(settings) / CURRENT)
    test(host, edge, f"{MOUNTED}/{target}/nginx.conf")
    try:
        load(settings, host, edge, target, generation)
    except OpsError:
        if before:
            point(settings, host, before, CURRENT)
            with suppress(OpsError):  # what was tried is about to be stopped: nginx must have let go of it
                load(settings, host, edge, before, int(Path(before).name))
        raise
    point(settings, host, target, PROVEN)
    forget(host, nginx.folder(settings) / "generations", generation)


def register(
    settings: Settings, host: Host, edge: str, generation: int, upstreams: Mapping[str, tuple[str, ...]]
) -> None:
    """Serve the same by a new generation with further upstreams, which can be probed before visitors are sent there."""
    files, route = proven(settings, host)
    write(settings, host, files, generation, replace(route, upstreams={**route.upstreams, **upstreams}))
    serve(settings, host, edge, generation)


def turn_page(settings: Settings, host: Host, edge: str, files: Files, generation: int, *, on: bool) -> None:
    """Serve the maintenance page, or the app again: the release and its members stay; `files` has the two variants."""
    _, route = proven(settings, host)
    served = ROUTES if ROUTES in files else MAIN
    switch(
        settings,
        host,
        edge,
        {**files, served: files[MAINTENANCE if on else APP]},
        generation,
        replace(route, maintenance=on),
    )


def proven(settings: Settings, host: Host) -> tuple[dict[str, File], nginx.Route]:
    """Read the generation that serves: its files, frame and routes, and what it serves.

    Raise OpsError where that is lost.
    """
    folder = nginx.folder(settings) / PROVEN
    record = recorded(host, folder)
    if not record:
        then = "inv deploy of another commit writes the next generation"
        raise OpsError(
            "no file says any more what the edge serves",
            where=f"{host.name}: {folder}",
            then=then,
            slug="edge-record-lost",
        )
    return contents(host, folder, record[1]), record[1]


def reload(edge: str) -> Command:
    """Tell nginx to read its configuration.

    Not by `docker kill`: after that the engine counts the container as stopped by hand, and starts it neither after a
    crash nor after a reboot (moby #41302).
    """
    return docker("exec", edge, "busybox", "kill", "-HUP", "1")


def load(settings: Settings, host: Host, edge: str, target: str, generation: int) -> None:
    """Have the running edge read one generation, and prove that it serves it."""
    workers = running.accepting_workers(host, edge)
    point(settings, host, target, CURRENT)
    host.run(reload(edge))
    prove(settings, host, generation)
    # nginx tells its old workers a moment after the new ones have begun to answer
    wait_until(lambda: not workers & running.accepting_workers(host, edge), settings.rollout.served_within, pause=0.02)


def unproven(settings: Settings, host: Host) -> int:
    """Return the generation that the edge's link names although nobody saw it served; 0 when there is none."""
    named, proven_link = host.together(
        *(partial(host.readlink, nginx.folder(settings) / link) for link in (CURRENT, PROVEN))
    )
    return int(Path(named).name) if named and proven_link and named != proven_link else 0


def revert(settings: Settings, host: Host, edge: str | None) -> None:
    """Go back to the generation that was proven last; without a running edge only the link changes."""
    target = host.readlink(nginx.folder(settings) / PROVEN) or ""
    if edge:
        load(settings, host, edge, target, int(Path(target).name))
    else:
        point(settings, host, target, CURRENT)


def test(host: Host, edge: str, path: str) -> None:
    """Let the running nginx itself test a configuration; another container would test other files."""
    try:
        host.run(docker("exec", edge, "nginx", "-t", "-q", "-c", path))
    except CommandFailed as error:
        if f'"{path}" failed (2:' in error.output:  # it was written a moment ago
            what = f"{edge} still has a folder that was replaced while it ran: it does not see what was written now"
            restart = host.command_line(f"docker restart {edge}")
            then = f"{restart}, an outage of seconds, then inv deploy"
            raise OpsError(what, where=path, then=then, slug="edge-folder-replaced") from None
        raise OpsError(
            f"nginx refuses the new configuration:\n{error.output}",
            where=path,
            then="fix nginx/*.j2, then inv deploy",
            slug="edge-config-invalid",
        ) from None


def prove(settings: Settings, host: Host, generation: int) -> None:
    """Ask over new connections until the new generation answers several times in a row."""
    in_a_row = 0
    for _ in poll(settings.rollout.served_within, pause=0.02):
        in_a_row = in_a_row + 1 if answered(settings, host) == generation else 0
        if in_a_row == PROOFS:
            return
    raise OpsError(
        f"the edge did not serve generation {generation} within {settings.rollout.served_within:.0f} s",
        where=f"127.0.0.1:{settings.edge.probe_port}/generation",
        then="docker logs of the edge",
        slug="edge-not-switched",
    )


def answered(settings: Settings, host: Host) -> int | None:
    """Ask the edge for its generation; None when nothing answers, or something else does in its place."""
    status, body = host.get(settings.edge.probe_port, "/generation")
    try:
        return int(json.loads(body)["generation"]) if status == 200 else None
    except (ValueError, KeyError, TypeError):
        return None


def forget(host: Host, folder: Path, generation: int) -> None:
    """Remove generations that are long past, but for the last one of each frame before."""
    past = [int(name) for name in host.listdir(folder) if name.isdigit() and int(name) <= generation - KEPT_GENERATIONS]
    current = recorded(host, folder / str(generation)) if past else None
    needed = formers(host, folder, current[1]) if current else []
    for number in past:
        if number not in needed:
            host.remove(folder / str(number))
