"""The nginx that runs: its version, and which of its workers take requests."""

from __future__ import annotations

from deploy.core.errors import Refused
from deploy.core.shell import docker
from deploy.edge import nginx
from deploy.hosts.host import Host

ASKED = 3


def require_version(host: Host, image: str) -> None:
    """Refuse an nginx on which a reload loses requests.

    Of a program that ends at once a busy engine may fail to pass on a word, or to start it: it is asked again.
    """
    for _ in range(ASKED):
        asked = host.try_run(docker("run", "--rm", "--network=none", image, "nginx", "-v"))
        if version := nginx.version(asked.stderr + asked.stdout):
            break
    if version < nginx.OLDEST:
        oldest, has = (".".join(map(str, v)) for v in (nginx.OLDEST, version))
        words = (
            has
            or f"unknown (`nginx -v` in its image ended with {asked.returncode}: {asked.output.strip() or 'no output'})"
        )
        raise Refused(
            f"the edge's nginx is {words}; {oldest} or newer is needed to lose no request on a reload",
            then="inv build",
            slug="nginx-too-old",
        )


def accepting_workers(host: Host, edge: str) -> set[int]:
    """Return the nginx workers that take new connections, by process id."""
    return {pid for pid, title in processes(host, edge).items() if title == "nginx: worker process"}


def retiring_workers(host: Host, edge: str) -> int:
    """Count nginx workers of earlier generations that still finish their requests."""
    return sum(title == "nginx: worker process is shutting down" for title in processes(host, edge).values())


def processes(host: Host, edge: str) -> dict[int, str]:
    """List what runs in the edge: process id -> title. The edge brings its own ps; a bare host has none."""
    rows = host.run(docker("exec", edge, "busybox", "ps", "-o", "pid,args").as_query()).splitlines()[1:]
    return {int(pid): title for pid, title in (row.split(maxsplit=1) for row in rows)}
