"""Show the logs of services: several at once in the order of time, and on through restarts and switches."""

from __future__ import annotations

import heapq
import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from queue import Empty, Queue
from threading import Thread

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import OpsError, Reasons, Refused
from deploy.core.shell import Command, docker
from deploy.hosts import fleet
from deploy.hosts.host import Process
from deploy.insight import services
from deploy.insight.services import ServiceContainer
from deploy.monitoring.loki import Kept

TAIL = 100  # lines of each service, without --since and --grep
POLL_SECONDS = 2
UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\S+Z$")
Find = Callable[[], tuple[dict[str, ServiceContainer], dict[str, OpsError]]]  # containers now, and unreachable hosts


@dataclass(frozen=True, order=True)
class Line:
    """One line of a log; the time is the engine's, whose text sorts by time."""

    time: str
    service: str
    text: str

    @property
    def dated(self) -> str:
        """The text behind its time, in UTC to the second; what the engine itself says has none of its own."""
        return f"{self.time[5:10]} {self.time[11:19]} {self.text}" if self.time else self.text


@dataclass(frozen=True)
class Query:
    """Which lines to show: those since a time, those with a pattern; without either the last ones of each service."""

    since: str = ""
    pattern: re.Pattern[str] | None = None
    times: bool = False

    @property
    def options(self) -> tuple[str, ...]:
        """The options of `docker logs`."""
        return ("--since", self.since) if self.since else () if self.pattern else ("--tail", str(TAIL))

    def matches(self, line: Line) -> bool:
        """Tell whether a line has the pattern."""
        return not self.pattern or bool(self.pattern.search(line.text))


def query(since: str, grep: str, *, times: bool = False) -> Query:
    """Read the options of `inv logs`; raise Refused with every mistake."""
    reasons, beginning, pattern = Reasons(), "", None
    with reasons:
        beginning = stamp(moment(since)) if since else ""
    with reasons:
        pattern = compiled(grep) if grep else None
    reasons.refuse()
    return Query(beginning, pattern, times)


def moment(since: str) -> datetime:
    """Read a duration, or a time, which without a zone is this machine's."""
    try:
        if re.fullmatch(r"(\d+(\.\d+)?[dhms])+", since):
            parts = re.findall(r"([\d.]+)(.)", since)
            return datetime.now(UTC) - timedelta(**{UNITS[unit]: float(number) for number, unit in parts})
        return datetime.fromisoformat(since).astimezone(UTC)
    except (ValueError, OverflowError):
        what = f"--since={since} is neither a duration nor a time"
        then = "for example --since=10m, 1h30m, 2d, 2026-11-23, or 2026-11-23T13:00:00Z"
        raise Refused(what, where="inv logs", then=then, slug="wrong-usage") from None


def stamp(moment: datetime) -> str:
    """Write a time as the engine does in front of lines, so that they compare as text."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def compiled(grep: str) -> re.Pattern[str]:
    """Read a regular expression, or refuse it with the place of the mistake."""
    try:
        return re.compile(grep)
    except re.error as error:
        place = f" at character {error.pos + 1}" if error.pos is not None else ""
        then = r"quote it for the shell, and write \( \[ \. for those characters themselves"
        what = f"--grep={grep} is not a regular expression: {error.msg}{place}"
        raise Refused(what, where="inv logs", then=then, slug="wrong-usage") from None


def show(at: Environment, names: list[str], requested: Query, *, follow: bool) -> None:
    """Show the logs of services, on all hosts in the order of time; with `follow` go on until Ctrl-C.

    Warns of unreachable hosts and shows the others; without `follow` it raises their errors then.
    """
    chosen, unreachable = services.find(at, names)
    for error in unreachable.values():
        console.warn(error.what)
    if follow:
        require_room(chosen.values())
    began = stamp(datetime.now(UTC))
    newest = defaultdict[str, str](lambda: began)
    kept = Kept(at, {one.host.name: one.host for one in chosen.values()}.values()) if requested.since else None
    logs = (history(service, one, requested, newest, kept) for service, one in chosen.items())
    say, line = console.lines(chosen), None
    with ending():
        # a connection carries few sessions at once: over one, each container's lines are read to their end first
        before = heapq.merge(*(map(list, logs) if at.remote else logs))
        after = live(lambda: find_again(at, names), newest) if follow else ()
        for line in filter(requested.matches, chain(before, after)):
            say(line.service, line.dated if requested.times else line.text)
        if not line:
            console.say("no lines")
    fleet.raise_unreachable({} if follow else unreachable)


def require_room(chosen: Collection[ServiceContainer]) -> None:
    """Refuse to follow more containers than a connection carries beside other commands."""
    for host, many in Counter(one.host for one in chosen).items():
        if many > host.followable:
            what = f"one connection follows {host.followable} containers at most, {host.name} has {many}"
            then = "name fewer services: inv logs SERVICE,... --follow; or leave --follow out"
            raise Refused(what, where=host.name, then=then, slug="too-many-containers")


def find_again(at: Environment, names: list[str]) -> tuple[dict[str, ServiceContainer], dict[str, OpsError]]:
    """Return the services' containers as they are now, and unreachable hosts; reconnect where a connection broke."""
    for host in at.hosts:
        if host.renew():
            console.warn(f"the connection to {host.name} broke and is opened again")
    return services.find(at, names)


@contextmanager
def ending() -> Iterator[None]:
    """Let Ctrl-C, or a closed pipe, be an end like any other."""
    with suppress(KeyboardInterrupt), console.read_or_not():
        yield


def read(container: str, *options: str) -> Command:
    """Make the command that prints a container's log. Pure."""
    return docker("logs", "--timestamps", *options, container).as_query()


def history(
    service: str, one: ServiceContainer, requested: Query, newest: dict[str, str], kept: Kept | None
) -> Iterator[Line]:
    """Yield a container's lines until now: with a time since then those that Loki keeps, then those since its last."""
    shown, options = "", requested.options
    for shown, text in kept.lines(one.host, one.container.name, requested.since) if kept else ():
        newest[one.place] = shown
        options = ("--since", shown)
        yield Line(shown, service, text)
    with one.host.open(read(one.container.name, *options)) as process:
        yield from (line for line in parsed(process, service, one.place, newest) if not shown or line.time > shown)
    if process.returncode:
        console.warn(f"the log of {service} is incomplete; to see why: docker logs {one.container.name}")


def parsed(process: Process, service: str, place: str, newest: dict[str, str]) -> Iterator[Line]:
    """Read lines and remember the time of the newest; the engine's own messages have no time."""
    for raw in process.stdout or ():
        stamp, _, text = raw.decode(errors="backslashreplace").rstrip("\r\n").partition(" ")
        if STAMP.match(stamp):
            newest[place] = stamp
            yield Line(stamp, service, text.replace(f"{stamp} ", ""))  # it is repeated in each 16 kB of a long line
        else:
            yield Line(newest.get(place, ""), service, f"{stamp} {text}")


def live(find: Find, newest: dict[str, str]) -> Iterator[Line]:
    """Yield lines as they come, also of services that start again or change their colour; never ends by itself.

    Warns once of what keeps it from a host, for as long as it is the same.
    """
    arriving: Queue[Line] = Queue(1000)
    attached: dict[str, tuple[Process, Thread]] = {}
    warned = ""
    try:
        while True:
            problem = attach(find, attached, newest, arriving)
            if problem not in ("", warned):
                console.warn(problem)
            warned = problem
            yield from take(arriving, POLL_SECONDS)
    finally:
        for process, _ in attached.values():
            process.terminate()


def attach(
    find: Find, attached: dict[str, tuple[Process, Thread]], newest: dict[str, str], arriving: Queue[Line]
) -> str:  # fmt: skip
    """Follow each container that runs and is not followed yet; return why hosts could not be asked, if any."""
    try:
        containers, unreachable = find()
        for service, one in containers.items():
            if not one.container.alive:
                if attached.pop(one.place, None):
                    console.say(f"-- {one.container.name} stopped")
            elif one.place not in attached or not attached[one.place][1].is_alive():
                process = one.host.open(read(one.container.name, "--follow", "--since", newest[one.place]))
                thread = Thread(target=pump, args=(process, service, one.place, newest, arriving), daemon=True)
                attached[one.place] = process, thread
                thread.start()
    except OpsError as error:
        return error.what
    return "\n".join(error.what for error in unreachable.values())


def take(arriving: Queue[Line], seconds: float) -> Iterator[Line]:
    """Yield what arrives within some seconds."""
    due = time.monotonic() + seconds
    with suppress(Empty):
        while (left := due - time.monotonic()) > 0:
            yield arriving.get(timeout=left)


def pump(process: Process, service: str, place: str, newest: dict[str, str], arriving: Queue[Line]) -> None:
    """Pass on a container's lines from now on."""
    shown = newest[place]
    with suppress(OpsError), process:  # the next poll warns of a connection that broke
        for line in parsed(process, service, place, newest):
            if line.time > shown:
                arriving.put(line)
