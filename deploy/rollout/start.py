"""Start containers where an engine that was full or killed holds what is left of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from deploy.core.errors import CommandFailed
from deploy.core.shell import docker
from deploy.site.run import Run

# A disk that was full can leave the engine with the endpoint of a container that has ended, and nothing of that name
# starts until somebody drops it or restarts the engine: docker/cli#1891.
LEFT_OVER = re.compile(r"endpoint with name (\S+) already exists in network (\S+)")


def freeing(run: Run, start: Callable[[], object]) -> None:
    """Start containers; where the engine still holds an endpoint of one that has ended, drop both and start again."""
    freed: set[str] = set()
    while True:
        try:
            start()
            return
        except CommandFailed as error:
            left = LEFT_OVER.search(error.output)
            if not left:
                raise
            if left[0] in freed:
                error.then = run.host.command_line("systemctl restart docker") + " drops it; inv deploy"
                raise
            freed.add(left[0])
            container, network = left.groups()
            run.host.run(docker("rm", container))  # refused where it runs after all
            run.host.run(docker("network", "disconnect", "--force", network, container))


def start_again(run: Run, colour: str, services: Iterable[str]) -> None:
    """Start stopped containers as they are: no file says how others would be made."""
    own = run.release.id if colour else ""
    if names := [c.name for c in run.containers(colour, services) if c.release == own and not c.alive]:
        run.host.run(docker("start", *names))
