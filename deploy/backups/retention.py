"""Which recovery points are kept, and the removal of the others. What decides is pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from deploy.backups.points import Place, Point, losses
from deploy.backups.repository import Repository, repository_of
from deploy.backups.show import age
from deploy.config.environment import Environment
from deploy.config.sections import Backup
from deploy.core import console
from deploy.core.errors import Interrupted, OpsError, Unreachable
from deploy.site.interrupted import require_no_other
from deploy.state import locks

# by what points are alike, of which the newest is kept
Period = Callable[[datetime], object]
DAY: Period = datetime.date
WEEK: Period = lambda time: time.isocalendar()[:2]  # noqa: E731  # one of three that are alike
MONTH: Period = lambda time: (time.year, time.month)  # noqa: E731  # see above
WORDS: dict[Place, str] = {"local": "on the host", "off-site": "off-site"}


@dataclass(frozen=True)
class Choice:
    """A recovery point, and why it is kept; without a reason it goes."""

    point: Point
    reasons: tuple[str, ...]


def choose(points: Sequence[Point], keep: Backup) -> list[Choice]:
    """Say of each point, oldest first, why it is kept. Pure.

    Days without a point do not count, so nights that failed remove nothing. The newest that was restored stays,
    whatever its age, and so does the newest that is off-site: copying may have failed for longer than anything is kept.
    A suspect one stands for no day, and stays until a later one was restored.
    """
    restored = [point for point in points if point.state == "restored"]
    good = [point for point in points if point.state != "suspect" or any(bears_out(later, point) for later in restored)]
    reasons: dict[str, list[str]] = {point.id: [] for point in points}
    for point in good[-keep.keep_least :]:
        reasons[point.id].append(f"one of the last {keep.keep_least}")
    for word, period, number in (
        ("day", DAY, keep.keep_days),
        ("week", WEEK, keep.keep_weeks),
        ("month", MONTH, keep.keep_months),
    ):
        newest = {period(datetime.fromisoformat(point.taken)): point for point in good}
        for point in [*newest.values()][len(newest) - number if number < len(newest) else 0 :]:
            reasons[point.id].append(f"the last of its {word}")
    for point in restored[-1:]:
        reasons[point.id].append("the newest that was restored")
    for point in [point for point in good or points if "off-site" in point.copies][-1:]:
        reasons[point.id].append("the newest that is off-site")
    for point in points:
        if point.state == "suspect" and not any(later.taken > point.taken for later in restored):
            reasons[point.id].append("suspect, and no later one was restored")
    return [Choice(point, tuple(reasons[point.id])) for point in points]


def bears_out(restored: Point, suspect: Point) -> bool:
    """Tell whether a later point that was restored shows that a suspect one held what there was. Pure."""
    both = restored.manifest and suspect.manifest and restored.taken > suspect.taken
    return bool(both) and not losses(restored.manifest, suspect.manifest)  # type: ignore[arg-type]  # both are there


def prune(at: Environment, *, yes: bool, json: bool) -> None:
    """Show which points go, ask, remove them, and say what is left according to the repository."""
    require_no_other(at)  # an interrupted restore needs its point
    repository = repository_of(at)
    with locks.held([repository.run.host], at.settings.state_dir, "backup.prune", name="dump"):
        choices = choose(repository.everywhere(), at.settings.backup)
        going = [choice.point.id for choice in choices if not choice.reasons]
        if not json:
            show(choices)
        if going:
            console.confirm(f"{len(going)} of {len(choices)} recovery points are removed for good.", yes=yes)
            with console.step(f"remove {len(going)} recovery points"):
                remove(repository, [choice.point for choice in choices if not choice.reasons])
    if json:
        kept = {choice.point.id: list(choice.reasons) for choice in choices if choice.reasons}
        console.document({"removed": going, "kept": kept})
    elif not going:
        console.say("nothing to remove")


def remove(repository: Repository, points: Sequence[Point]) -> None:
    """Remove points from each repository that has them, also where the other one refuses.

    Raises OpsError with what each refused, or where one is listed afterwards.
    """
    places: tuple[Place, ...] = ("off-site", "local")
    refused = {place: error for place in places if (error := remove_from(repository, points, place))}
    if refused:
        what = "; ".join(f"nothing was removed {WORDS[place]}: {error.what}" for place, error in refused.items())
        then = "an account that may only add is pruned over there; else fix that, then inv backup.prune again"
        raise OpsError(what, where=repository.run.host.name, then=then, slug="backup-failed")
    if left := sorted({point.id for point in repository.everywhere()} & {point.id for point in points}):
        what = f"still there: {', '.join(left)}"
        raise OpsError(what, where=repository.run.host.name, then="inv backup.prune again", slug="backup-failed")


def remove_from(repository: Repository, points: Sequence[Point], place: Place) -> OpsError | None:
    """Remove points from one repository; return what went wrong."""
    snapshots = [point.copies[place] for point in points if place in point.copies]
    try:
        if snapshots:  # a lock of a killed one goes before; that of one that lives stays
            repository.call("restic", "unlock", "--quiet", place=place)
            repository.call("restic", "--retry-lock=2m", "forget", "--quiet", "--prune", *snapshots, place=place)
    except (Interrupted, Unreachable):
        raise
    except OpsError as error:
        return error
    return None


def show(choices: Sequence[Choice]) -> None:
    """Show which points stay and which go."""
    rows = [
        ["keep" if reasons else "remove", point.id, point.taken, age(point.taken), point.state, "; ".join(reasons)]
        for point, reasons in ((one.point, one.reasons) for one in choices)
    ]  # fmt: skip
    if rows:
        console.table(["", "point", "taken (UTC)", "age", "state", "because"], rows)
