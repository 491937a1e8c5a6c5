"""Which recovery points are kept. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from deploy.backups.points import Evidence, Manifest, Point, Proof
from deploy.backups.retention import choose
from deploy.config.sections import Backup

NOW = datetime(2026, 11, 30, 3, tzinfo=UTC)
KEEP = Backup(keep_days=7, keep_weeks=4, keep_months=6, keep_least=3)


def point(days: float, state: Proof = "taken", losses: tuple[str, ...] = ()) -> Point:
    """A point that is so many days old, and named after that."""
    taken = (NOW - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Point(f"{days:g}", taken, 1, (Evidence(point="", state=state, time=taken),), losses)


def kept(points: list[Point], keep: Backup = KEEP) -> list[str]:
    return [choice.point.id for choice in choose(points, keep) if choice.reasons]


def test_days_weeks_and_months() -> None:
    year = [point(days) for days in range(365, -1, -1)]
    days, weeks, months = (6, 5, 4, 3, 2, 1, 0), (15, 8, 1, 0), (153, 122, 91, 61, 30, 0)
    assert kept(year) == [str(age) for age in sorted({*days, *weeks, *months}, reverse=True)]


def test_of_one_day_the_last_stays() -> None:
    day = [point(hours / 24) for hours in (2.5, 2, 1.5, 1, 0.5)]
    assert kept(day, Backup(keep_days=7, keep_weeks=0, keep_months=0, keep_least=1)) == [day[-1].id]
    assert kept(day, Backup(keep_days=7, keep_weeks=0, keep_months=0, keep_least=3)) == [one.id for one in day[-3:]]


def test_nights_without_a_backup_remove_nothing() -> None:
    old = [point(days) for days in (400, 390, 380)]
    only_days = Backup(keep_days=3, keep_weeks=0, keep_months=0, keep_least=1)
    assert kept(old, only_days) == ["400", "390", "380"]


def test_the_newest_that_was_restored_stays_whatever_its_age() -> None:
    points = [point(500, "restored"), point(400, "restored"), *(point(days) for days in range(60, -1, -1))]
    few = Backup(keep_days=1, keep_weeks=0, keep_months=0, keep_least=1)
    assert kept(points, few) == ["400", "0"]


def test_a_suspect_point_stands_for_no_day_and_goes_once_a_later_one_was_restored() -> None:
    few = Backup(keep_days=1, keep_weeks=0, keep_months=0, keep_least=1)
    morning, emptied = point(0.2), point(0.1, losses=("books is empty",))
    assert kept([morning, emptied], few) == [morning.id, emptied.id]
    assert kept([morning, emptied, point(0, "restored")], few) == ["0"]


def test_no_point_at_all() -> None:
    assert choose([], KEEP) == []


def test_suspect_nights_that_a_restored_one_bears_out_count_as_good() -> None:
    def night(age: float, state: Proof, rows: int, losses: tuple[str, ...] = ()) -> Point:
        held = Manifest(taken="", server=150020, database="shop", bytes=1, rows={"books": rows})
        plain = point(age, state, losses)
        return replace(plain, evidence=(plain.evidence[0].model_copy(update={"manifest": held}),))

    nights = [night(age, "taken", 40, ("40 rows in all, and 100 before",)) for age in (6, 5, 4, 3)]
    drilled = [*nights, night(2, "restored", 41)]
    week = Backup(keep_days=7, keep_weeks=0, keep_months=0, keep_least=1)
    assert kept(drilled, week) == ["6", "5", "4", "3", "2"]
    assert kept([night(6, "taken", 0, ("books is empty",)), *drilled[-1:]], week) == ["2"]


def test_the_newest_that_is_off_site_stays_when_copying_has_failed_for_long() -> None:
    nights = [point(days) for days in range(59, -1, -1)]
    copied = [replace(one, copies={"local": one.id, "off-site": f"f{one.id}"}) for one in nights[:13]]
    choices = choose([*copied, *nights[13:]], Backup(keep_days=7, keep_weeks=4, keep_months=0, keep_least=3))
    far = [choice for choice in choices if choice.reasons and "off-site" in choice.point.places]
    assert [(choice.point.id, choice.reasons) for choice in far] == [("47", ("the newest that is off-site",))]
