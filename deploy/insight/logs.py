"""What services say: of several at once, in the order of time, and on through restarts and switches."""

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
from deploy.insight.services import Found

TAIL = 100  # lines of each service, when nothing says which
LOOK_SECONDS = 2
UNITS = {"d": "days", "h": "hours", "m": "minutes", "s": "seconds"}
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\S+Z$")


@dataclass(frozen=True, order=True)
class Line:
    """One line of a log; the time is the engine's, and as text orders lines."""

    time: str
    service: str
    text: str


@dataclass(frozen=True)
class Query:
    """Which lines are wanted: those since a time, those with a pattern; without either the last ones of each service."""

    since: str = ""
    pattern: re.Pattern[str] | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """What `docker logs` is told."""
        return ("--since", self.since) if self.since else () if self.pattern else ("--tail", str(TAIL))

    def wants(self, line: Line) -> bool:
        """Tell whether a line has the pattern."""
        return not self.pattern or bool(self.pattern.search(line.text))


def query(since: str, grep: str) -> Query:
    """Read what was asked for; raise Refused with every mistake."""
    reasons, beginning, pattern = Reasons(), "", None
    with reasons:
        beginning = stamp(moment(since)) if since else ""
    with reasons:
        pattern = compiled(grep) if grep else None
    reasons.refuse()
    return Query(beginning, pattern)


def moment(since: str) -> datetime:
    """Read how long ago, or a time, which without a zone is this machine's."""
    try:
        if re.fullmatch(r"(\d+(\.\d+)?[dhms])+", since):
            return datetime.now(UTC) - timedelta(**{UNITS[unit]: float(much) for much, unit in re.findall(r"([\d.]+)(.)", since)})
        return datetime.fromisoformat(since).astimezone(UTC)
    except (ValueError, OverflowError):
        then = "--since=10m, 1h30m, 2d, 2026-11-23, or 2026-11-23T13:00:00Z"
        raise Refused(f"--since={since} is no duration and no time", where="inv logs", then=then) from None


def stamp(moment: datetime) -> str:
    """Write a time as the engine does in front of lines, so that as text they compare."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


def compiled(grep: str) -> re.Pattern[str]:
    """Read a regular expression, or refuse it with the place of the mistake."""
    try:
        return re.compile(grep)
    except re.error as error:
        place = f" at character {error.pos + 1}" if error.pos is not None else ""
        then = r"quote it for the shell, and write \( \[ \. for those characters themselves"
        raise Refused(f"--grep={grep} is not a regular expression: {error.msg}{place}", where="inv logs", then=then) from None


def show(at: Environment, names: list[str], wanted: Query, *, follow: bool) -> None:
    """Show what services said, on all hosts in the order of time; with `follow` go on until Ctrl-C.

    A host that cannot be seen is said, and the others are shown; raise what kept from seeing it then.
    """
    chosen, unseen = services.find(at, names)
    for error in unseen.values():
        console.warn(error.what)
    if follow:
        require_room(chosen.values())
    began = stamp(datetime.now(UTC))
    seen = defaultdict[str, str](lambda: began)
    said = (history(service, one, wanted, seen) for service, one in chosen.items())
    say, line = console.lines(chosen), None
    with ending():
        # a connection carries few sessions at once: over one, each container's lines are read to their end first
        before = heapq.merge(*(map(list, said) if at.remote else said))
        after = live(lambda: look_again(at, names), seen) if follow else ()
        for line in filter(wanted.wants, chain(before, after)):
            say(line.service, line.text)
        if not line:
            console.say("no lines")
    fleet.tell({} if follow else unseen)


def require_room(chosen: Collection[Found]) -> None:
    """Refuse to follow more containers than a connection carries beside what else is asked."""
    for host, many in Counter(one.host for one in chosen).items():
        if many > host.followed:
            told = f"{many} containers cannot be followed at once over the connection to {host.name}, {host.followed} can"
            raise Refused(told, where=host.name, then="name fewer services: inv logs SERVICE,... --follow; or leave --follow out")


def look_again(at: Environment, names: list[str]) -> tuple[dict[str, Found], dict[str, OpsError]]:
    """Return the containers of services as they are now, and hosts not seen; a connection that broke meanwhile is made anew."""
    for host in at.hosts:
        if host.renew():
            console.warn(f"the connection to {host.name} broke, and is made anew")
    return services.find(at, names)


@contextmanager
def ending() -> Iterator[None]:
    """Let Ctrl-C, or a reader who has seen enough, be an end like any other."""
    with suppress(KeyboardInterrupt), console.read_or_not():
        yield


def read(container: str, *words: str) -> Command:
    """Ask for a container's log. Pure."""
    return docker("logs", "--timestamps", *words, container)


def history(service: str, one: Found, wanted: Query, seen: dict[str, str]) -> Iterator[Line]:
    """Yield what a container said."""
    with one.host.open(read(one.container.name, *wanted.words)) as process:
        yield from parsed(process, service, one.place, seen)
    if process.returncode:
        console.warn(f"not the whole log of {service}: docker logs {one.container.name} says why")


def parsed(process: Process, service: str, place: str, seen: dict[str, str]) -> Iterator[Line]:
    """Read lines and remember the time of the newest; what is the engine's own word has no time."""
    for raw in process.stdout or ():
        stamp, _, text = raw.decode(errors="backslashreplace").rstrip("\r\n").partition(" ")
        if STAMP.match(stamp):
            seen[place] = stamp
            yield Line(stamp, service, text.replace(f"{stamp} ", ""))  # it stands again in each 16 kB of a long line
        else:
            yield Line(seen.get(place, ""), service, f"{stamp} {text}")


def live(look: Callable[[], tuple[dict[str, Found], dict[str, OpsError]]], seen: dict[str, str]) -> Iterator[Line]:
    """Yield lines as they come, also of services that start again or change their colour; never ends by itself.

    What keeps it from looking at a host is told once, for as long as it is the same.
    """
    arriving: Queue[Line] = Queue(1000)
    attached: dict[str, tuple[Process, Thread]] = {}
    told = ""
    try:
        while True:
            try:
                found, unseen = look()
                missing = "\n".join(error.what for error in unseen.values())
                for service, one in found.items():
                    place = one.place
                    if not one.container.alive:
                        if attached.pop(place, None):
                            console.say(f"-- {one.container.name} stopped")
                    elif place not in attached or not attached[place][1].is_alive():
                        process = one.host.open(read(one.container.name, "--follow", "--since", seen[place]))
                        attached[place] = process, Thread(target=pump, args=(process, service, place, seen, arriving), daemon=True)
                        attached[place][1].start()
            except OpsError as error:
                missing = error.what
            if told != (told := missing) and told:
                console.warn(told)
            due = time.monotonic() + LOOK_SECONDS
            with suppress(Empty):
                while (left := due - time.monotonic()) > 0:
                    yield arriving.get(timeout=left)
    finally:
        for process, _ in attached.values():
            process.terminate()


def pump(process: Process, service: str, place: str, seen: dict[str, str], arriving: Queue[Line]) -> None:
    """Hand over what a container says from now on."""
    known = seen[place]
    with suppress(OpsError), process:  # a connection that broke is told by whoever looks again
        for line in parsed(process, service, place, seen):
            if line.time > known:
                arriving.put(line)
