"""Show recovery points, and what was done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from deploy.backups import isolated, wal
from deploy.backups.drill import Drilled
from deploy.backups.points import Evidence, Place, Point, State
from deploy.backups.restore import Aborted, Restored, handlers
from deploy.backups.tables import RestoredTable, plain
from deploy.backups.take import Taken
from deploy.backups.uploaded import DUMP
from deploy.backups.volumes import RestoredVolume
from deploy.core import console
from deploy.core.errors import OpsError
from deploy.site import checks

UNITS = ("B", "KB", "MB", "GB", "TB")


def taken(result: Taken, env: str, *, json: bool) -> None:
    """Show a recovery point that was just taken."""
    manifest, suffix = result.manifest, "" if env == "local" else f" --env={env}"
    if json:
        document = {"id": result.point, "state": "taken", "places": result.places, "seconds": result.seconds}
        document["not_backed_up"] = [*result.left_out, *(f"database {name}" for name in manifest.unsaved)]
        console.document({**document, "manifest": manifest.model_dump()})
        return
    rows = f"{sum(manifest.rows.values())} rows in {len(manifest.rows)} tables"
    where = " and ".join(result.places)
    console.say(f"recovery point {result.point}: {rows}, {size(manifest.bytes)}, {where}, {result.seconds} s", "green")
    for volume in result.left_out:
        console.warn(
            f"not backed up: volume {volume}; mount it under /data of the backup service, or x-deploy.backup: none"
        )
    for name in manifest.unsaved:
        console.warn(f"not backed up: database {name} of the same server; one is saved, that of PGDATABASE")
    console.say(f"it counts once it was restored: inv backup.drill{suffix}")


def points(listed: Sequence[Point], unasked: OpsError | None = None, *, json: bool) -> None:
    """List recovery points; then raise why a repository could not be asked."""
    table(listed, json=json)
    if unasked:
        unasked.documented = json
        raise unasked


def table(listed: Sequence[Point], *, json: bool) -> None:
    """Show recovery points, and where each is."""
    if json:
        console.document([point.document for point in listed])
    elif listed:
        rows = [
            [p.id, p.taken, age(p.taken), p.state, " ".join(p.places), size(p.bytes), p.release, p.proof]
            for p in listed
        ]
        console.table(["point", "taken (UTC)", "age", "state", "where", "size", "release", "evidence"], rows)
    else:
        console.say("there is no recovery point; to take one: inv backup")


def restored(result: Restored, *, json: bool) -> None:
    """Show which point or dump serves now, and where the data before is."""
    if json:
        console.document({"id": result.point.id, "taken": result.point.taken, "kept": result.kept})
        return
    what = "the dump" if result.point.id.startswith(DUMP) else "recovery point"
    console.say(f"{what} {result.point.id} of {result.point.taken} serves", "green")
    console.say(f"the database before is kept as {result.kept}; tasks that are queued may name rows which are gone")


def restored_volume(result: RestoredVolume, *, json: bool) -> None:
    """Show which files came back, and where those before are."""
    if json:
        console.document(result.document)
        return
    console.say(f"the files of {result.volume} are those of recovery point {result.point.id}; newer ones stay", "green")
    console.say(f"what was there before is in recovery point {result.before}")


def restored_table(result: RestoredTable, *, json: bool) -> None:
    """Show where the rows of a table are now."""
    if json:
        console.document(result.document)
        return
    _, name = plain(result.table)
    own = f'{result.schema}."{name}"'
    console.say(f"{result.rows} rows of {result.table}, as of {result.point.taken}, are in {own}", "green")
    console.say(f"what is live was not touched; once nobody needs them: DROP SCHEMA {result.schema} CASCADE")


def drilled(results: Sequence[Drilled], env: str, *, json: bool) -> None:
    """Show what drills came to; raise GateClosed, exit 3, unless every point counts as restored."""
    named = [replace(check, asked=f"{one.point} {check.asked}") for one in results for check in one.checks]
    if not json:
        checks.show(named, env, json=False)
        return
    console.document({"points": [one.document for one in results]})
    checks.require_open(named, documented=True)


def aborted(result: Aborted, *, json: bool) -> None:
    """Show that the database before serves."""
    if json:
        console.document({"database": result.live, "kept": result.kept or None})
        return
    console.say(f"the restore was undone: {result.live} is what it was")
    if result.kept:
        console.say(f"what was written since the swap is in {result.kept}")


@dataclass(frozen=True)
class Standing:
    """When a point was taken, restored and copied off-site last; None: never, as far as the host remembers.

    `places` are where points go: the repository, and the off-site one, as restic writes them. `wal` is what comes
    between them; None where nothing receives it.
    """

    taken: str | None
    restored: str | None
    copied: str | None
    places: tuple[str, ...]
    wal: wal.Receiving | None = None

    @property
    def document(self) -> dict[str, object]:
        """The same for programs."""
        times = {"taken": self.taken, "restored": self.restored, "offsite": self.copied}
        moments = self.wal.document if self.wal else None
        return {**times, "leaves_host": self.leaves_host, "point_in_time": moments}

    @property
    def leaves_host(self) -> bool:
        """Tell whether points survive the loss of the host."""
        return any(map(isolated.is_remote, self.places))

    @property
    def words(self) -> str:
        """The same for people, with the next command."""
        moments = f"; {self.wal.words}" if self.wal else ""
        if not self.taken:
            return f"backups: no record of one: inv backup takes one, inv backup.list shows what is there{moments}"
        proof = f"one was restored {age(self.restored)} ago" if self.restored else "none was restored: inv backup.drill"
        return f"backups: the last was taken {age(self.taken)} ago; {proof}{self.away}{moments}"

    @property
    def away(self) -> str:
        """Say what the loss of the host would take."""
        if not self.leaves_host:
            return "; all are on the host of the data, and are lost with it: set backup.offsite"
        if len(self.places) == 1:
            return f"; they go to {self.places[0]}"
        return (
            f"; one was copied off-site {age(self.copied)} ago"
            if self.copied
            else "; none is off-site: inv backup.copy"
        )


def standing(lines: Sequence[Evidence], *places: str) -> Standing:
    """Say when a point was taken, restored and copied off-site last. Pure."""

    def last(state: State, place: Place) -> str | None:
        return max((line.time for line in lines if (line.state, line.place) == (state, place)), default=None)

    return Standing(last("taken", "local"), last("restored", "local"), last("taken", "off-site"), places)


HANDLERS = handlers({"restored": restored, "aborted": aborted})


def size(count: float) -> str:
    """Write a number of bytes for people. Pure."""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def age(taken: str, at: datetime | None = None) -> str:
    """Write how long ago a time was, in its largest unit. Pure but for the clock."""
    seconds = ((at or datetime.now(UTC)) - datetime.fromisoformat(taken)).total_seconds()
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
