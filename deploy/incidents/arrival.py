"""Whether logs arrive: a line is written into each container's own output, and read where `inv logs` reads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import uuid4

from deploy.core.errors import OpsError
from deploy.core.facts import Container
from deploy.core.poll import poll
from deploy.core.shell import docker
from deploy.hosts.host import Host
from deploy.insight import logs

WITHIN = 15.0  # seconds
MISSING = (126, 127)  # exit codes of the engine for a program that is not in the image
# an entrypoint that drops root, as that of the official postgres, leaves an output that nobody may open again
DENIED = "permission denied"
# the first process has the container's output open; whoever runs as the same account may write into it.
# Always at its end: where the output is a file, it is the app's
WRITE = 'printf "%s\\n" "$0" >> /proc/1/fd/1'
SHELLS = (("sh", "-c", WRITE), ("busybox", "sh", "-c", WRITE))
INTERPRETERS = {  # by how the program is called that the container was started with
    "python": ("-c", "import sys; open('/proc/1/fd/1', 'ab', 0).write(sys.argv[1].encode() + b'\\n')"),
    "node": ("-e", "require('fs').appendFileSync('/proc/1/fd/1', process.argv[1] + '\\n')"),
}
STARTED_WITH = "{{.Path}}"


@dataclass(frozen=True)
class Arrival:
    """What became of one container's line: how long it took, None where it did not come, and why.

    `own` tells that nothing in the container can write a line, and that one of its own was read instead.
    """

    container: str
    seconds: float | None = None
    trouble: str = ""
    own: bool = False
    unsure: bool = False


def arrivals(host: Host, containers: Iterable[Container]) -> list[Arrival]:
    """Try every container that runs on a host: all lines are written first, so that they share the time to wait."""
    running = [one.name for one in containers if one.state == "running"]
    since = host.now()  # its clock dates the lines
    sent = {name: write(host, name) for name in running}
    return [await_line(host, name, since, *sent[name]) for name in running]


def write(host: Host, container: str) -> tuple[str, str, float]:
    """Write a line into a container's output; return its marker, empty where nothing can write, why, and when."""
    marker = uuid4().hex
    line = json.dumps({"level": "info", "message": "inv validate: do logs arrive?", "marker": marker})
    for words in writers(host, container):
        done = host.try_run(docker("exec", container, *words, line), timeout=WITHIN)
        if done.returncode == 0:
            return marker, "", time.monotonic()
        if DENIED in done.output.lower():
            break
        if done.returncode not in MISSING:
            return "", done.output.strip().splitlines()[-1] if done.output.strip() else "it cannot be written to", 0
    return "", "", 0


def writers(host: Host, container: str) -> Iterator[tuple[str, ...]]:
    """Yield the commands that may write a line: by a shell, else by the interpreter that the container runs or has."""
    yield from SHELLS
    program = host.try_run(docker("inspect", f"--format={STARTED_WITH}", container).as_query()).stdout.strip()
    name = program.rpartition("/")[2]
    yield from ((program, *words) for interpreter, words in INTERPRETERS.items() if name.startswith(interpreter))
    yield ("python3", *INTERPRETERS["python"])


def await_line(host: Host, container: str, since: str, marker: str, trouble: str, sent: float) -> Arrival:
    """Wait until a container's line is read back."""
    if trouble:
        return Arrival(container, trouble=trouble, unsure=True)
    if not marker:
        return await_own(host, container)
    others = 0
    for _ in poll(max(0.0, sent + WITHIN - time.monotonic()), pause=0.3):
        read = host.try_run(logs.read(container, "--since", since), timeout=WITHIN)
        if read.returncode:  # it says nothing about the line
            return Arrival(container, trouble=f"its log cannot be read: {read.output}", unsure=True)
        if marker in read.whole:
            return Arrival(container, time.monotonic() - sent)
        others = len(read.whole.splitlines())
    trouble = f"a line that was written did not come within {WITHIN:.0f} s; {others} others did"
    return Arrival(container, trouble=trouble)


def await_own(host: Host, container: str) -> Arrival:
    """Read a line that a container wrote itself, where nothing in it can write one."""
    read = host.try_run(logs.read(container, "--tail", "1"), timeout=WITHIN)
    if read.returncode == 0 and read.whole.strip():
        return Arrival(container, own=True)
    return Arrival(container, trouble="nothing in it can write a line, and it has written none itself", unsure=True)


def tried(host: Host, containers: Iterable[Container]) -> list[Arrival]:
    """Try every container of a host; where that fails say so."""
    try:
        return arrivals(host, containers)
    except OpsError as error:
        return [Arrival(host.name, trouble=error.what.partition("\n")[0], unsure=True)]
