"""Recovery points, what each holds, and how far it has been proven."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from deploy.core import console
from deploy.core.model import Frozen, Kept, must
from deploy.hosts.host import Host
from deploy.state import kept
from deploy.state.folder import Folder, moment, now

EVIDENCE = "backups.jsonl"
SHORT = 8  # characters of a snapshot's id, as restic shows it
# taken: it is in the repository. read: its dump was read back, byte for byte. restored: an app of ours ran on it.
Proof = Literal["taken", "read", "restored"]
# suspect: it was taken, and holds so much less than the one before that nobody should rely on it
State = Literal["suspect", "taken", "read", "restored"]
PROOFS: tuple[Proof, ...] = ("taken", "read", "restored")
# a point with fewer rows than this part of those before it is suspect
LEAST_PART = 0.5
# so many rows a table must have had for its being empty to speak against a point: a queue or outbox is empty at times
FEW = 10
# so far ahead a clock may be before anybody speaks of it
SKEW = timedelta(hours=1)


# a server's own default of max_wal_size: https://www.postgresql.org/docs/15/runtime-config-wal.html
MAX_WAL = 2**30
LONGEST_NAME = 30  # characters of the database's name that stand in those of its neighbours: PostgreSQL takes 63
# what restores call these, after the name
BESIDE = re.compile(r"_((before|aborted)_\d+|(restored|table)_\w+)")
MANIFEST_VERSION = 1  # that docker/backup/manifest.sql writes


class Manifest(Frozen):
    """What a database held in one moment, as docker/backup/manifest.sql prints it; `rows` by `schema.table`."""

    taken: str
    server: int
    database: str
    bytes: int
    revision: str | None = None
    extensions: dict[str, str] = Field(default={})
    rows: dict[str, int] = Field(default={})
    others: tuple[str, ...] = ()  # databases of the same server, which no backup of this one holds

    @property
    def unsaved(self) -> tuple[str, ...]:
        """The others that no restore has made."""
        own = self.database[:LONGEST_NAME]
        return tuple(
            name for name in self.others if not (name.startswith(own) and BESIDE.fullmatch(name.removeprefix(own)))
        )


def room_needed(dump: int, database: int, *, received: bool = False) -> int:
    """Return the bytes that a restore takes besides what is there: the dump, the database, its WAL. Pure.

    The server keeps so much WAL at most; what is `received` of it for a moment's sake is all of it, once more.
    """
    return dump + database + min(database, MAX_WAL) + (database if received else 0)


def read_manifest(document: Mapping[str, object]) -> Manifest:
    """Read a manifest; keys of a newer toolkit stay. Raises Refused for one that only that can understand. Pure."""
    try:
        if not kept.is_too_new(document):
            return Manifest.model_validate(document)
    except ValueError:
        if document.get("version") == MANIFEST_VERSION:
            raise
    raise kept.too_new(Path("manifest.json"))


# where a repository is: on the host that has the data, or where its end does not reach
Place = Literal["local", "off-site"]


class Evidence(Kept):
    """One line of backups.jsonl: what was proven of a point, when, how, and in which repository."""

    point: str
    state: Proof
    time: Annotated[str, must(lambda time: datetime.fromisoformat(time).tzinfo, "it must be a time in UTC")]
    detail: str = ""
    release: str = ""
    manifest: Manifest | None = None
    place: Place = "local"


@dataclass(frozen=True)
class Point:
    """One recovery point: its id, when it was taken, its size in bytes, and what is proven of it.

    Its id is that of restic's snapshot when it was taken; a copy of it has another, by its repository in `copies`.
    `losses` says what it lacks that the one before had, and what makes it suspect until it is read or restored.
    """

    id: str
    taken: str
    bytes: int
    evidence: tuple[Evidence, ...] = ()
    losses: tuple[str, ...] = ()
    copies: Mapping[Place, str] = field(default_factory=dict)

    @property
    def snapshot(self) -> str:
        """What the repository of the host calls it."""
        return self.copies.get("local", self.id)

    @property
    def places(self) -> list[Place]:
        """Where it is."""
        return [*self.copies]

    @property
    def counting(self) -> tuple[Evidence, ...]:
        """What was proven of what is there: a copy that is left off-site was not what was restored on the host."""
        gone = {"local"} if self.copies and "local" not in self.copies else set()
        return tuple(line for line in self.evidence if line.place not in gone)

    @property
    def proven(self) -> Proof:
        """The most that was proven of it."""
        return max((line.state for line in self.counting), key=PROOFS.index, default="taken")

    @property
    def state(self) -> State:
        """How far it has been proven; one that lost much counts from when it was restored."""
        return "suspect" if self.losses and self.proven != "restored" else self.proven

    @property
    def manifest(self) -> Manifest | None:
        """What it holds; None where the host's record of it is gone."""
        return next((line.manifest for line in self.evidence if line.manifest), None)

    @property
    def release(self) -> str:
        """The release that served when it was taken; empty where that record is gone."""
        return next((line.release for line in self.evidence if line.release), "")

    @property
    def proof(self) -> str:
        """The evidence of its state, in words."""
        if self.state == "suspect":
            return "; ".join(self.losses)
        return next((f"{one.time} {one.detail}".strip() for one in self.counting[::-1] if one.state == self.proven), "")

    @property
    def document(self) -> dict[str, object]:
        """The point for programs."""
        revision = self.manifest.revision if self.manifest else None
        return {
            "id": self.id, "taken": self.taken, "state": self.state, "evidence": self.proof, "bytes": self.bytes,
            "places": self.places, "release": self.release, "revision": revision,
        }  # fmt: skip


class EvidenceFile(Folder):
    """What one host remembers of its recovery points."""

    def add(self, evidence: Evidence) -> None:
        """Add a line."""
        self.host.append(self.folder / EVIDENCE, kept.dump(evidence))

    def prove(self, point: str, state: Proof, detail: str, place: Place = "local") -> None:
        """Add what was proven of a point just now."""
        self.add(Evidence(point=point, state=state, time=now(), detail=detail, place=place))

    def lines(self) -> tuple[Evidence, ...]:
        """Return all lines, oldest first; those that cannot be read are left out, with a warning."""
        read, text = [], self.tolerated(EVIDENCE, "no backup counts as read or restored") or ""
        for line in filter(str.strip, text.splitlines()):
            try:
                read.append(kept.value(Evidence, kept.read(line)))
            except ValueError:
                self.warn(f"{self.folder / EVIDENCE}: a line cannot be read, and is passed over")
        return tuple(read)


def ordered(points: tuple[Point, ...], host: Host) -> tuple[Point, ...]:
    """Put points that were taken while the host's clock was ahead before all others: none of them is the latest."""
    if not ahead(points, datetime.now(UTC)):
        return points
    early = ahead(points, datetime.fromisoformat(host.now()))
    if early:
        ids = ", ".join(point.id for point in early)
        console.warn(f"the clock of {host.name} was ahead when {ids} was taken: it never counts as the latest")
    return (*early, *(point for point in points if point not in early))


def ahead(points: Iterable[Point], at: datetime) -> list[Point]:
    """List the points whose time has not come. Pure."""
    return [point for point in points if datetime.fromisoformat(point.taken) > at + SKEW]


def joined(
    snapshots: Iterable[Mapping[str, object]],
    lines: Iterable[Evidence],
    offsite: Iterable[Mapping[str, object]] = (),
) -> tuple[Point, ...]:
    """Join restic's snapshots here and off-site with what is proven of them, oldest first. Pure."""
    proven: dict[str, list[Evidence]] = {}
    for line in lines:
        proven.setdefault(line.point, []).append(line)
    everywhere = dict[str, Point]()
    places: dict[Place, Iterable[Mapping[str, object]]] = {"local": snapshots, "off-site": offsite}
    for place, listed in places.items():
        for snapshot in listed:
            point = point_of(snapshot, place, proven)
            copies = {**everywhere.get(point.id, point).copies, **point.copies}
            everywhere[point.id] = replace(point, copies=copies)
    points, before = list[Point](), None
    for point in sorted(everywhere.values(), key=lambda point: point.taken):
        if before and point.manifest:
            point = replace(point, losses=tuple(losses(before, point.manifest)))
        before = before if point.state == "suspect" else point.manifest or before
        points.append(point)
    return tuple(points)


def point_of(snapshot: Mapping[str, object], place: Place, proven: Mapping[str, Iterable[Evidence]]) -> Point:
    """Read one snapshot as restic lists it in a repository; a copy names the one that it is of. Pure."""
    name = str(snapshot.get("original") or snapshot["short_id"])[:SHORT]
    summary = snapshot.get("summary")
    size = summary.get("total_bytes_processed", 0) if isinstance(summary, dict) else 0
    time = datetime.fromisoformat(re.sub(r"\.\d+", "", str(snapshot["time"])))
    copies = {place: str(snapshot["short_id"])}
    return Point(name, moment(time.astimezone(UTC)), int(size), tuple(proven.get(name, ())), copies=copies)


def losses(before: Manifest, now: Manifest) -> list[str]:
    """Say what a point has lost against the one before that speaks against it. Pure."""
    if before.revision != now.revision:
        before = before.model_copy(update={"rows": {name: n for name, n in before.rows.items() if name in now.rows}})
    emptied = [
        f"{table} is empty, and had {rows} rows before" for table, rows in before.rows.items()
        if rows >= FEW and not now.rows.get(table)
    ]  # fmt: skip
    had, has = sum(before.rows.values()), sum(now.rows.values())
    shrunk = [f"{has} rows in all, and {had} before"] if has < had * LEAST_PART else []
    return [*emptied, *shrunk]


def differences(expected: Manifest, found: Manifest) -> list[str]:
    """Say in what a restored database differs from the one that was dumped. Pure."""
    tables = sorted(expected.rows.keys() | found.rows.keys())
    rows = [
        f"{table} has {found.rows.get(table, 'no table')} rows, and had {expected.rows.get(table, 'no table')}"
        for table in tables if found.rows.get(table) != expected.rows.get(table)
    ]  # fmt: skip
    others = [
        f"{what}: {mine}, and was {theirs}" for what, mine, theirs in (
            ("schema revision", found.revision, expected.revision),
            ("extensions", sorted(found.extensions), sorted(expected.extensions)),
        ) if mine != theirs
    ]  # fmt: skip
    return [*rows, *others]
