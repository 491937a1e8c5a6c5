"""A rebuild where data is already: a database that outlived its host, a folder that is not empty."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.backups.points import Point
from deploy.core.errors import OpsError, Refused
from deploy.rollout import rebuild
from deploy.rollout.steps.shared import StartShared
from tests.flow import test_drill
from tests.flow.test_drill import MANIFEST, Place

POINT = Point("point0", "2026-11-20T00:00:00Z", 1, copies={"local": "point0"})


class Host(test_drill.Host):
    """A host on which a database has `tables`, and the saved folder `files`."""

    tables, files = 0, ""

    def answer(self, argv: tuple[str, ...]) -> str:
        if "ls" in argv:
            return self.files
        if "psql" in argv:
            return f"{self.tables}\n"
        return "nobody could write for 5" if "swap" in argv else super().answer(argv)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(test_drill, "Host", Host)
    monkeypatch.setattr(StartShared, "perform", lambda *_: None)
    return Place(tmp_path)


def host(place: Place) -> Host:
    assert isinstance(place.host, Host)
    return place.host


def changes(place: Place) -> list[str]:
    """What was restored or swapped, by the first words of it."""
    lines = (line.partition(" backup ")[2] for line in place.host.executed)
    return [line for line in lines if line.startswith(("restore ", "restic restore", "swap "))]


def test_what_is_empty_is_filled(place: Place) -> None:
    rebuild.fill(place.repository.run, POINT)
    assert changes(place) == [
        "restore point0 books", "restic restore --quiet point0:/data --target /restored --include=/uploads",
    ]  # fmt: skip


def test_a_database_with_tables_is_refused_before_anything_changes(place: Place) -> None:
    host(place).tables = 57
    with pytest.raises(Refused, match="the database books on postgres has 57 tables") as refused:
        rebuild.fill(place.repository.run, POINT)
    assert (refused.value.slug, refused.value.code) == ("host-not-bare", 2)
    assert "--swap-database=books" in refused.value.then
    with pytest.raises(Refused):
        rebuild.fill(place.repository.run, POINT, "another")
    assert changes(place) == []


def test_a_database_that_was_named_is_swapped_out_and_kept_and_that_is_reported_before(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    host(place).tables = 57
    place.host.fails = ("swap",)
    with pytest.raises(OpsError):
        rebuild.fill(place.repository.run, POINT, "books")
    assert "books on postgres has 57 tables: it is kept as books_before_" in capsys.readouterr().err
    new, swapped = changes(place)
    assert new == "restore point0 books_restored_point0"
    assert swapped.startswith("swap books books_before_")
    assert swapped.endswith(" books_restored_point0")


def test_a_folder_that_is_not_empty_is_refused_before_anything_changes(place: Place) -> None:
    host(place).files = "/data/uploads/a\n"
    with pytest.raises(Refused, match=r"files are there .*: \S+ \(as /data/uploads\)") as refused:
        rebuild.fill(place.repository.run, POINT)
    assert (refused.value.slug, refused.value.code, changes(place)) == ("host-not-bare", 2, [])


def test_what_this_rebuild_has_begun_to_fill_is_filled_again(place: Place) -> None:
    place.host.fails = ("restic", "restore")
    with pytest.raises(OpsError) as failed:
        rebuild.fill(place.repository.run, POINT)
    assert (failed.value.code, failed.value.then) == (1, rebuild.AGAIN)
    place.host.fails = ("nothing",)
    host(place).tables, host(place).files = len(MANIFEST.rows), "/data/uploads/a\n"
    rebuild.fill(place.repository.run, POINT)
    *_, restored, swapped, volume = changes(place)
    assert restored == "restore point0 books_restored_point0"
    assert swapped.startswith("swap books books_before_")
    assert "--include=/uploads" in volume
