"""Change what the edge serves: stage, test, rename, reload, prove."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from deploy.config.settings import Settings
from deploy.core.errors import CommandFailed, OpsError
from deploy.core.poll import poll, wait_until
from deploy.core.shell import Command, docker
from deploy.edge import nginx, running
from deploy.edge.folder import CURRENT, PROVEN, EdgeFolder, generation_folder
from deploy.edge.frame import APP, MAIN, MAINTENANCE, ROUTES, Files
from deploy.hosts.host import Host

__all__ = ["CURRENT", "MOUNTED", "PROVEN", "point", "prove", "register", "reload", "revert", "switch", "turn_page"]

# the folder as the edge's container sees it
MOUNTED = "/etc/edge"
PROOFS = 3
RETIRING_WITHIN = 60  # seconds until old workers quit accepting; a tenth of one on a host that is not overloaded


def switch(folder: EdgeFolder, edge: str, files: Files, generation: int, route: nginx.Route) -> None:
    """Serve a new generation; on any failure the edge serves what it served."""
    serve(folder, edge, folder.stage(files, generation, route))


def register(folder: EdgeFolder, edge: str, generation: int, upstreams: Mapping[str, tuple[str, ...]]) -> None:
    """Serve the same by a new generation with further upstreams, which can be probed before visitors are sent there."""
    files, route = folder.proven()
    folder.write(files, generation, replace(route, upstreams={**route.upstreams, **upstreams}))
    serve(folder, edge, generation)


def turn_page(folder: EdgeFolder, edge: str, files: Files, generation: int, *, on: bool) -> None:
    """Serve the maintenance page, or the app again: the release and its members stay; `files` has the two variants."""
    _, route = folder.proven()
    served = ROUTES if ROUTES in files else MAIN
    files = {**files, served: files[MAINTENANCE if on else APP]}
    switch(folder, edge, files, generation, replace(route, maintenance=on))


def serve(folder: EdgeFolder, edge: str, generation: int) -> None:
    """Serve a generation that was written; on any failure the link is put back and the edge serves what it served."""
    host, target = folder.host, generation_folder(generation)
    before = host.readlink(folder.path / CURRENT)
    test(host, edge, f"{MOUNTED}/{target}/nginx.conf")
    try:
        load(folder, edge, target)
    except OpsError:
        if before:
            point(folder, before, CURRENT)
            with suppress(OpsError):  # the new containers are stopped next: nginx must not use them any more
                load(folder, edge, before)
        raise
    point(folder, target, PROVEN)
    folder.forget(generation)


def revert(folder: EdgeFolder, edge: str | None) -> None:
    """Go back to the generation that was proven last; without a running edge only the link changes."""
    target = folder.host.readlink(folder.path / PROVEN) or ""
    if edge:
        load(folder, edge, target)
    else:
        point(folder, target, CURRENT)


def load(folder: EdgeFolder, edge: str, target: str) -> None:
    """Have the running edge read one generation, and prove that it serves it."""
    settings, host = folder.settings, folder.host
    workers = running.accepting_workers(host, edge)
    point(folder, target, CURRENT)
    host.run(reload(edge))
    prove(settings, host, int(Path(target).name))
    require_retiring(host, edge, workers)


def require_retiring(host: Host, edge: str, workers: Set[int]) -> None:
    """Wait until nginx's old workers accept no more requests: what they send these to is stopped next.

    They get the signal a moment after the new ones have begun to answer; on an overloaded host that takes seconds.
    """
    if not wait_until(lambda: not workers & running.accepting_workers(host, edge), RETIRING_WITHIN, pause=0.02):
        raise OpsError(
            f"workers of the edge before still take requests, {RETIRING_WITHIN} s after the reload",
            where=f"{host.name}: {edge}",
            then="the host is overloaded: free its processors, then inv deploy",
            slug="edge-not-switched",
        )


def point(folder: EdgeFolder, target: str, *links: str) -> None:
    """Make links name one generation, each in one rename."""
    for link in links:
        folder.host.symlink(folder.path / link, target)


def reload(edge: str) -> Command:
    """Tell nginx to read its configuration.

    Not by `docker kill`: after that the engine counts the container as stopped by hand, and starts it neither after a
    crash nor after a reboot (moby #41302).
    """
    return docker("exec", edge, "busybox", "kill", "-HUP", "1")


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
