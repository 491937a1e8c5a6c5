"""A dump of another host on a host whose engine is a script.

What is refused before anything is made, what is restored.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from deploy.backups import dumps, restore
from deploy.backups.uploaded import UploadedDump
from deploy.core.errors import GateClosed, OpsError, Refused
from tests.flow import test_drill
from tests.flow.test_drill import MANIFEST, Place
from tests.unit.test_restore_choices import ALEMBIC, HEADER


class Host(test_drill.Host):
    """A host whose server has a version, and that was given a dump."""

    live = MANIFEST
    header, version = HEADER + ALEMBIC.replace("0003", "2"), "150020"

    def answer(self, argv: tuple[str, ...]) -> str:
        if "header" in argv:
            return self.header
        if "import" in argv:
            return f"{self.live.model_dump_json()}\n{MANIFEST.model_dump_json()}"
        if "psql" in argv:
            return self.version
        return "nobody could write for 5" if "swap" in argv else super().answer(argv)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_waiting: None) -> Place:
    monkeypatch.setattr(test_drill, "Host", Host)
    monkeypatch.setattr(UploadedDump, "upload", lambda *_: None)
    made = Place(tmp_path / "state")
    for module in (dumps, restore):
        monkeypatch.setattr(module, "repository_of", lambda _: made.repository)
        monkeypatch.setattr(module, "naming_what_serves", lambda _: nullcontext())
        monkeypatch.setattr(module, "locked", lambda *_: nullcontext())
    return made


@pytest.fixture
def dump(tmp_path: Path) -> str:
    (path := tmp_path / "old.dump").write_bytes(b"PGDMP and the rest")
    return str(path)


def host(place: Place) -> Host:
    assert isinstance(place.host, Host)
    return place.host


def programs(place: Place) -> list[str]:
    """The programs that changed something, in their order."""
    words = ("import", "amcheck", "swap", "drop", "rm")
    return [word for line in place.host.executed for word in words if f" {word} " in line]


def test_a_dump_goes_the_way_of_a_point_and_nothing_of_it_stays_in_the_staging_volume(place: Place, dump: str) -> None:
    result = dumps.restore_dump(place.at, dump)
    assert result.point.id.startswith("dump_")
    assert programs(place) == ["import", "amcheck", "swap", "rm"]
    assert not place.state.interruptions()


def test_a_dump_of_a_newer_server_is_refused_before_anything_is_made(place: Place, dump: str) -> None:
    host(place).version = "140010"
    with pytest.raises(Refused, match="is of PostgreSQL 15, and the database here of 14"):
        dumps.restore_dump(place.at, dump)
    assert programs(place) == []


@pytest.mark.parametrize(
    ("header", "words"),
    [(HEADER + ALEMBIC, "has schema 0003"), (HEADER, "has no schema revision")],
    ids=["another", "none"],
)
def test_a_dump_of_another_schema_is_refused_unless_a_person_says_so(
    place: Place, dump: str, header: str, words: str
) -> None:
    host(place).header = header
    with pytest.raises(GateClosed, match=words) as closed:
        dumps.restore_dump(place.at, dump)
    assert (closed.value.slug, f"--from={dump} --older-schema" in closed.value.then) == ("schema-does-not-fit", True)
    assert programs(place) == []
    dumps.restore_dump(place.at, dump, older_schema=True)
    assert programs(place) == ["import", "amcheck", "swap", "rm"]


def test_a_dump_of_some_tables_does_not_take_the_place_of_all(place: Place, dump: str) -> None:
    rows = {"public.books": 3, "public.users": 9, "restored_20261130101500.books": 3}
    host(place).live = MANIFEST.model_copy(update={"rows": rows})
    with pytest.raises(GateClosed, match=r"lacks tables that the live database has: public\.users\n") as closed:
        dumps.restore_dump(place.at, dump)
    assert closed.value.slug == "restored-data-differs"
    assert programs(place) == ["import", "drop", "rm"]
    host(place).executed.clear()
    dumps.restore_dump(place.at, dump, older_schema=True)
    assert programs(place) == ["import", "amcheck", "swap", "rm"]


def test_without_room_nothing_is_brought(place: Place, dump: str) -> None:
    host(place).free = 50
    with pytest.raises(Refused) as refused:
        dumps.restore_dump(place.at, dump)
    assert (refused.value.slug, programs(place)) == ("disk-full", [])


@pytest.mark.parametrize("way_out", [restore.resume, restore.abort])
def test_one_that_was_interrupted_is_gone_on_with_or_left(
    place: Place, dump: str, way_out: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    host(place).fails, host(place).error = ("amcheck",), KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        dumps.restore_dump(place.at, dump)
    host(place).fails = ("nothing",)
    host(place).executed.clear()
    assert callable(way_out)
    way_out(place.at)
    expected = ["import", "amcheck", "swap", "rm"] if way_out is restore.resume else ["drop", "rm"]
    assert programs(place) == expected
    assert not place.state.interruptions()


def test_one_that_cannot_be_restored_leaves_nothing(place: Place, dump: str) -> None:
    host(place).fails = ("import",)
    with pytest.raises(OpsError, match="import failed"):
        dumps.restore_dump(place.at, dump)
    assert programs(place)[-2:] == ["drop", "rm"]
