"""Show recovery points, and what was done with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from deploy.backups.drill import Drilled
from deploy.backups.points import Evidence, Point
from deploy.backups.restore import Aborted, Restored, handlers
from deploy.backups.take import Taken
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import Refused
from deploy.site import checks

UNITS = ("B", "KB", "MB", "GB", "TB")


def taken(result: Taken, env: str, *, json: bool) -> None:
    """Show a recovery point that was just taken."""
    manifest, suffix = result.manifest, "" if env == "local" else f" --env={env}"
    if json:
        document = {"id": result.point, "state": "taken", "seconds": result.seconds, "not_backed_up": result.left_out}
        console.document({**document, "manifest": manifest.model_dump()})
        return
    rows = f"{sum(manifest.rows.values())} rows in {len(manifest.rows)} tables"
    console.say(f"recovery point {result.point}: {rows}, {size(manifest.bytes)}, {result.seconds} s", "green")
    for volume in result.left_out:
        console.warn(
            f"not backed up: volume {volume}; mount it under /data of the backup service, or x-deploy.backup: none"
        )
    console.say(f"it counts once it was restored: inv backup.drill{suffix}")


def points(listed: Sequence[Point], *, json: bool) -> None:
    """List recovery points."""
    if json:
        console.document([point.document for point in listed])
    elif listed:
        rows = [[p.id, p.taken, age(p.taken), p.state, size(p.bytes), p.release, p.proof] for p in listed]
        console.table(["point", "taken (UTC)", "age", "state", "size", "release", "evidence"], rows)
    else:
        console.say("there is no recovery point; to take one: inv backup")


def restored(result: Restored, *, json: bool) -> None:
    """Show which point serves now, and where the data before is."""
    if json:
        console.document({"id": result.point.id, "taken": result.point.taken, "kept": result.kept})
        return
    console.say(f"recovery point {result.point.id} of {result.point.taken} serves", "green")
    console.say(f"the database before is kept as {result.kept}; tasks that are queued may name rows which are gone")


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
    """When a point was taken last, and when one was restored last; None: never, as far as the host remembers."""

    taken: str | None
    restored: str | None

    @property
    def document(self) -> dict[str, str | None]:
        """The same for programs."""
        return {"taken": self.taken, "restored": self.restored}

    @property
    def words(self) -> str:
        """The same for people, with the next command."""
        if not self.taken:
            return "backups: none was taken; to take one: inv backup"
        proof = f"one was restored {age(self.restored)} ago" if self.restored else "none was restored: inv backup.drill"
        return f"backups: the last was taken {age(self.taken)} ago; {proof}"


def standing(lines: Sequence[Evidence]) -> Standing:
    """Say when a point was taken and restored last. Pure."""
    taken = max((line.time for line in lines if line.state == "taken"), default=None)
    return Standing(taken, max((line.time for line in lines if line.state == "restored"), default=None))


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


def ask(settings: Settings, point: str, *, yes: bool) -> None:
    """Have a person type the environment's name before the data that people use there is replaced."""
    if not point:
        what, then = "no recovery point was named", "inv backup.list names them; or inv backup.restore latest"
        raise Refused(what, where="inv backup.restore", then=then, slug="wrong-usage")
    if settings.asks:
        question = f"{point} takes the place of the database of {settings.name}; writers stop for about a second."
        console.confirm(question, yes=yes, word=settings.name)
