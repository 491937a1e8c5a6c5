"""What was received of a server's write-ahead log, and which moments of its database that can bring back. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from deploy.core.errors import Refused

LATEST = "latest"
PARTIAL, HISTORY = ".partial", ".history"
BYTES_OF_A_NUMBER = 0x1_0000_0000  # of the three in a segment's name the last counts within so many


@dataclass(frozen=True)
class Base:
    """A base backup: its name, which is the time of its end by the server's clock, and the first segment it needs."""

    name: str
    first: str

    @property
    def end(self) -> datetime:
        """The first moment that can be recovered from it."""
        return datetime.fromisoformat(self.name)


@dataclass(frozen=True)
class Stretch:
    """The WAL of one server that was received in one go: until when, its base backups, its segments in bytes."""

    name: str
    server: str  # PostgreSQL's system identifier
    until: datetime
    lsn: str
    bases: tuple[Base, ...] = ()
    segments: tuple[tuple[str, int], ...] = ()

    @property
    def size(self) -> int:
        """The bytes of a segment."""
        return max((size for _, size in self.segments), default=1)

    def place(self, segment: str) -> int:
        """Count the segments before this one. https://www.postgresql.org/docs/15/wal-internals.html."""
        return int(segment[8:16], 16) * (BYTES_OF_A_NUMBER // self.size) + int(segment[16:24], 16)

    @property
    def last(self) -> int:
        """The place of the segment in which what was flushed ends."""
        high, low = (int(part, 16) for part in self.lsn.split("/"))
        return (high * BYTES_OF_A_NUMBER + low - 1) // self.size

    @property
    def missing(self) -> int | None:
        """The place of the last segment that is not there, or not whole; None where none lacks."""
        there = {self.place(name) for name, size in self.segments if size == self.size and not name.endswith(HISTORY)}
        needed = range(self.last, min(map(self.place, [one.first for one in self.bases]), default=0) - 1, -1)
        return next((place for place in needed if place not in there), None)

    @property
    def usable(self) -> tuple[Base, ...]:
        """The base backups from which all WAL is there, oldest first."""
        after = -1 if self.missing is None else self.missing
        return tuple(one for one in self.bases if self.place(one.first) > after and one.end <= self.until)

    @property
    def gap(self) -> str:
        """Name the segment that lacks, as its file would be called; empty where none does, or all do."""
        if self.missing is None or not self.segments:
            return ""
        high, low = divmod(self.missing, BYTES_OF_A_NUMBER // self.size)
        return f"{self.segments[-1][0][:8]}{high:08X}{low:08X}"

    @property
    def words(self) -> str:
        """Say which moments can be recovered."""
        return f"{self.name}: {self.moments}"

    @property
    def moments(self) -> str:
        """The first and the last moment that can be recovered, and what lacks."""
        gap = f"; segment {self.gap} lacks, and nothing before it can be recovered" if self.gap else ""
        if not self.usable:
            lacking = "base backup" if self.segments else "WAL"
            return f"nothing until {written(self.until)}: there is no {lacking}{gap}"
        return f"{written(self.usable[0].end)} to {written(self.until)}{gap}"

    @property
    def document(self) -> dict[str, object]:
        """The same for programs."""
        start = self.usable[0].end.isoformat() if self.usable else None
        return {"stretch": self.name, "from": start, "until": self.until.isoformat(), "gap": self.gap or None}


@dataclass(frozen=True)
class Asked:
    """The moment that a person asks for; None for the last commit that is held, of one stretch or of all."""

    moment: datetime | None
    stretch: str = ""

    @property
    def words(self) -> str:
        """The same for people."""
        last = f"the last commit of {self.stretch}" if self.stretch else "the last commit"
        return written(self.moment) if self.moment else last


@dataclass(frozen=True)
class Recovery:
    """A moment of the database, and what it is recovered from."""

    stretch: str
    base: str
    moment: datetime | None  # None: the last that is held

    @property
    def target(self) -> str:
        """The moment as PostgreSQL takes it; `end` for the last."""
        return self.moment.astimezone(UTC).strftime("%F %T.%f+00") if self.moment else "end"

    @property
    def words(self) -> str:
        """The moment for people."""
        return written(self.moment) if self.moment else "the last commit that is held"


@dataclass(frozen=True)
class Receiving:
    """What the host of the data has received, and whether more comes."""

    stretches: tuple[Stretch, ...]
    shipped: datetime | None  # when all of it was saved elsewhere last
    healthy: bool

    @property
    def words(self) -> str:
        """Say for people which moments can be recovered, and what would end that."""
        dead = "" if self.healthy else "; nothing is received now: inv logs wal says why"
        newest = self.stretches[-1].moments if self.stretches else "nothing yet"
        away = (
            f"off-site until {written(self.shipped)}" if self.shipped else "on the host of the data, and lost with it"
        )
        return f"point in time: {newest}, {away}{dead}"

    @property
    def document(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "received": self.healthy,
            "shipped": self.shipped.isoformat() if self.shipped else None,
            "held": [stretch.document for stretch in self.stretches],
        }


def read(printed: str) -> tuple[Stretch, ...]:
    """Read what docker/backup/held printed, oldest first."""
    stretches = list[Stretch]()
    bases, segments = list[Base](), list[tuple[str, int]]()
    for line in printed.splitlines():
        match line.split():
            case ["stretch", name, server, until, lsn]:
                bases, segments = [], []
                stretches.append(Stretch(name, server, datetime.fromisoformat(until), lsn))
            case ["base", name, first]:
                bases.append(Base(name, first))
            case ["wal", segment, size]:
                segments.append((segment, int(size)))
        if stretches:
            newest = stretches.pop()
            stretches.append(replace(newest, bases=tuple(bases), segments=tuple(segments)))
    return tuple(stretches)


def shipped(printed: str) -> datetime | None:
    """Return when all that was received was saved elsewhere last, as docker/backup/held printed it."""
    seconds = [line.split()[1] for line in printed.splitlines() if line.startswith("shipped ")]
    return datetime.fromtimestamp(int(seconds[0]), UTC) if seconds else None


def choose(stretches: Sequence[Stretch], asked: Asked, where: str) -> Recovery:
    """Choose the newest base backup before a moment; raise Refused, with what is held, where none reaches it.

    The last commit is that of the newest stretch, unless WAL of another server is held too: a database that was lost
    may have an empty one in its place.
    """
    named = [one for one in stretches if asked.stretch in ("", one.name)]
    if asked.moment is None and len({one.server for one in named}) > 1:
        what = "\n    ".join(["WAL of several servers is held, and each has a last commit:", *ranges(stretches)])
        raise Refused(what, where=where, then=f"--at={LATEST}:{named[0].name}, or another", slug="moment-not-held")
    for stretch in reversed(named):
        if fitting := [one for one in stretch.usable if reaches(stretch, one, asked.moment)]:
            return Recovery(stretch.name, fitting[-1].name, asked.moment)
    what = "\n    ".join([f"{asked.words} is not held; what can be recovered is:", *ranges(stretches)])
    then = "inv backup.restore --at with a moment of these; inv backup.list names the recovery points"
    raise Refused(what, where=where, then=then, slug="moment-not-held")


def reaches(stretch: Stretch, base: Base, moment: datetime | None) -> bool:
    """Tell whether a moment can be recovered from a base backup; the last commit always can. Pure."""
    return moment is None or base.end <= moment <= stretch.until


def ranges(stretches: Iterable[Stretch]) -> list[str]:
    """Say which moments can be recovered, a line for each stretch. Pure."""
    return [stretch.words for stretch in stretches] or ["nothing yet: no base backup was taken"]


def asked_for(text: str) -> Asked:
    """Read what a person typed: a moment, UTC where no other time zone is named, or `latest`, or `latest:STRETCH`.

    Raises Refused for anything else.
    """
    word, _, stretch = text.partition(":")
    if word == LATEST:
        return Asked(None, stretch)
    try:
        moment = datetime.fromisoformat(text.strip().removesuffix(" UTC"))  # as it is written here
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        if ":" not in text:
            raise ValueError("a day alone is no moment")
    except (ValueError, OverflowError):
        what = f"{text} is no time"
        then = '--at="2026-11-23 10:15:00", which is UTC; "2026-11-23 11:15:00+01:00"; or --at=latest'
        raise Refused(what, where="inv backup.restore", then=then, slug="wrong-usage") from None
    return Asked(moment)


def written(moment: datetime) -> str:
    """Write a moment for people, in UTC. Pure."""
    text = f"{moment.astimezone(UTC):%F %T.%f}".rstrip("0").rstrip(".")
    return f"{text} UTC"
