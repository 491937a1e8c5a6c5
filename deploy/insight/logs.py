"""What services say: of several at once, in the order of time, and on through restarts and switches."""

from __future__ import annotations

import heapq
import os
import re
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import cycle
from queue import Empty, Queue
from subprocess import Popen
from threading import Thread

from deploy import console
from deploy.errors import OpsError, Reasons, Refused
from deploy.hosts.local import LocalHost
from deploy.insight import services
from deploy.model import Container
from deploy.settings import Settings
from deploy.shell import Command, docker

TAIL = 100
LOOK_SECONDS = 2
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "red")
# a duration of Go, a Unix time, a date
SINCE = re.compile(
    r"((\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h))+|\d+(\.\d{1,9})?"
    r"|(?P<date>\d{4}-\d\d-\d\d(T\d\d(:\d\d(:\d\d(\.\d{1,9})?)?)?)?(Z|[+-]\d\d:\d\d)?)"
)
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\S+Z$")


@dataclass(frozen=True, order=True)
class Line:
    """One line of a log; the time is the engine's, and as text orders lines."""

    time: str
    service: str
    text: str


@dataclass(frozen=True)
class Query:
    """Which lines are wanted; `tail` is the number of each service's last ones, None for all."""

    since: str = ""
    pattern: re.Pattern[str] | None = None
    tail: int | None = None

    def wants(self, line: Line) -> bool:
        """Tell whether a line is one of them."""
        return not self.pattern or bool(self.pattern.search(line.text))


def query(since: str, grep: str, tail: int) -> Query:
    """Check what was asked for; raise Refused with every mistake. A negative `tail`: 100 lines, all with `since` or `grep`."""
    reasons, pattern = Reasons(), None
    with reasons:
        check_since(since)
    with reasons:
        pattern = compiled(grep) if grep else None
    reasons.refuse()
    return Query(since, pattern, tail if tail >= 0 else None if since or grep else TAIL)


def check_since(since: str) -> None:
    """Refuse a time that `docker logs --since` would not take."""
    known = SINCE.fullmatch(since)
    try:
        _ = datetime.fromisoformat(known["date"]) if known and known["date"] else None
    except ValueError:  # the 31st of June
        known = None
    if since and not known:
        then = "--since=10m, 1h30m, 24h (there are no days), 2026-11-23, 2026-11-23T13:00:00Z, or a Unix time"
        raise Refused(f"--since={since} is no duration and no time", where="inv logs", then=then)


def compiled(grep: str) -> re.Pattern[str]:
    """Read a regular expression, or refuse it with the place of the mistake."""
    try:
        return re.compile(grep)
    except re.error as error:
        place = f" at character {error.pos + 1}" if error.pos is not None else ""
        then = r"quote it for the shell, and write \( \[ \. for those characters themselves"
        raise Refused(f"--grep={grep} is not a regular expression: {error.msg}{place}", where="inv logs", then=then) from None


def show(settings: Settings, host: LocalHost, names: list[str], wanted: Query, *, follow: bool) -> None:
    """Show what services said; with `follow` go on until Ctrl-C."""
    chosen = services.find(settings, host, names)
    say = printer(chosen if len(chosen) > 1 else ())
    began = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    seen = defaultdict[str, str](lambda: began)
    with ending():
        before = [history(host, service, container, wanted, seen) for service, container in chosen.items()]
        count = sum(say(line) for line in heapq.merge(*before))
        if follow:
            for line in filter(wanted.wants, live(host, lambda: services.find(settings, host, names), seen)):
                say(line)
        elif not count:
            console.say("no lines")


@contextmanager
def ending() -> Iterator[None]:
    """Let Ctrl-C, or a reader who has seen enough, be an end like any other."""
    try:
        yield
    except KeyboardInterrupt:
        pass
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def printer(names: Collection[str]) -> Callable[[Line], int]:
    """Return what prints a line, behind its service's name in a colour of its own when there are several; it counts 1."""
    from rich.console import Console

    screen, width = Console(soft_wrap=True), max(map(len, names), default=0)
    prefixes = {}
    for name, colour in zip(names, cycle(COLOURS), strict=False):
        with screen.capture() as styled:
            screen.print(f"{name:<{width}} |", style=colour, end=" ", markup=False, highlight=False)
        prefixes[name] = styled.get()

    def say(line: Line) -> int:
        screen.file.write(f"{prefixes.get(line.service, '')}{line.text}\n")
        screen.file.flush()
        return 1

    return say


def read(container: str, *words: str) -> Command:
    """Ask for a container's log. Pure."""
    return docker("logs", "--timestamps", *words, container)


def history(host: LocalHost, service: str, container: Container, wanted: Query, seen: dict[str, str]) -> Iterator[Line]:
    """Yield what a container said; with a pattern the last lines are the last that match."""
    words = ["--since", wanted.since] if wanted.since else []
    words += ["--tail", str(wanted.tail)] if wanted.tail is not None and not wanted.pattern else []
    with host.open(read(container.name, *words)) as process:
        lines = (line for line in parsed(process, service, container.name, seen) if wanted.wants(line))
        yield from deque(lines, wanted.tail) if wanted.pattern and wanted.tail is not None else lines
    if process.returncode:
        console.warn(f"not the whole log of {service}: docker logs {container.name} says why")


def parsed(process: Popen[bytes], service: str, container: str, seen: dict[str, str]) -> Iterator[Line]:
    """Read lines and remember the time of the newest; what is the engine's own word has no time."""
    for raw in process.stdout or ():
        stamp, _, text = raw.decode(errors="backslashreplace").rstrip("\r\n").partition(" ")
        if STAMP.match(stamp):
            seen[container] = stamp
            yield Line(stamp, service, text.replace(f"{stamp} ", ""))  # it stands again in each 16 kB of a long line
        else:
            yield Line(seen.get(container, ""), service, f"{stamp} {text}")


def live(host: LocalHost, look: Callable[[], dict[str, Container]], seen: dict[str, str]) -> Iterator[Line]:
    """Yield lines as they come, also of services that start again or change their colour; never ends by itself."""
    arriving: Queue[Line | Container] = Queue(1000)  # a container stands for the end of its log
    attached: dict[str, Popen[bytes]] = {}
    stopped: set[str] = set()
    try:
        while True:
            with suppress(OpsError):
                for service, container in look().items():
                    if container.name not in attached and container.alive:  # one that restarts without end is never seen running
                        stopped -= {container.name} if container.state == "running" else set()
                        attached[container.name] = process = host.open(read(container.name, "--follow", "--since", seen[container.name]))
                        Thread(target=pump, args=(process, service, container, seen, arriving), daemon=True).start()
            due = time.monotonic() + LOOK_SECONDS
            with suppress(Empty):
                while (left := due - time.monotonic()) > 0:
                    came = arriving.get(timeout=left)
                    if isinstance(came, Line):
                        yield came
                    elif attached.pop(came.name) and came.name not in stopped:
                        stopped.add(came.name)
                        console.say(f"-- {came.name} stopped")
    finally:
        for process in attached.values():
            process.terminate()


def pump(process: Popen[bytes], service: str, container: Container, seen: dict[str, str], arriving: Queue[Line | Container]) -> None:
    """Hand over what a container says from now on, then the container itself."""
    known = seen[container.name]
    with process:
        for line in parsed(process, service, container.name, seen):
            if line.time > known:
                arriving.put(line)
    arriving.put(container)
