"""Start containers, also on an engine that was full or killed and still holds their network endpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from deploy.core.errors import CommandFailed
from deploy.core.shell import docker
from deploy.site.run import Run

# A disk that was full can leave the engine with the endpoint of a container that has ended. No container of that name
# starts until the endpoint is dropped or the engine is restarted: docker/cli#1891.
STALE_ENDPOINT = re.compile(r"endpoint with name (\S+) already exists in network (\S+)")


def start_despite_stale_endpoints(run: Run, start: Callable[[], object]) -> None:
    """Start containers; where the engine holds a stale endpoint, drop it with its container and start again.

    Raises CommandFailed, which advises to restart the engine, where an endpoint cannot be dropped.
    """
    dropped: set[str] = set()
    while True:
        try:
            start()
            return
        except CommandFailed as error:
            stale = STALE_ENDPOINT.search(error.output)
            if not stale:
                raise
            if stale[0] in dropped:
                error.then = run.host.command_line("systemctl restart docker") + " drops it; inv deploy"
                raise
            dropped.add(stale[0])
            container, network = stale.groups()
            run.host.run(docker("rm", container))  # refused where it runs after all
            run.host.run(docker("network", "disconnect", "--force", network, container))


def start_stopped(run: Run, colour: str, services: Iterable[str]) -> None:
    """Start stopped containers as they are: of a reconstructed release no file says how to create others."""
    release = run.release.id if colour else ""  # shared services are of none
    if names := [c.name for c in run.containers(colour, services) if c.release == release and not c.alive]:
        run.host.run(docker("start", *names))
