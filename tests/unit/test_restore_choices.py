"""What of a point is restored, and which dumps of other hosts are: tables by name, headers, versions. Pure."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.backups import uploaded
from deploy.backups.choice import Choice
from deploy.backups.dumps import begin, require_dump
from deploy.backups.points import MAX_WAL, Point, ordered, read_manifest, room_needed
from deploy.backups.tables import matching, plain
from deploy.core import console
from deploy.core.errors import Refused
from deploy.hosts.local import LocalHost

TABLES = ("public.books", "old.books", 'public."Odd.Name"', "public.notes")
HEADER = """bytes: 2048
;
; Archive created at 2026-11-30 05:15:00 UTC
;     dbname: shop
;     TOC Entries: 81
;     Format: CUSTOM
;     Dumped from database version: 15.20 (Debian 15.20-0+deb12u1)
;     Dumped by pg_dump version: 17.2
;
3415; 0 16392 TABLE DATA public alembic_version shop
"""
ALEMBIC = "COPY public.alembic_version (version_num) FROM stdin;\n0003\n\\.\n"


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("notes", "public.notes"),
        ("public.books", "public.books"),
        ("Odd.Name", 'public."Odd.Name"'),
        ('public."Odd.Name"', 'public."Odd.Name"'),
    ],
)
def test_a_table_is_named_with_its_schema_or_without(name: str, table: str) -> None:
    assert matching(TABLES, name, "a", "app1") == table


@pytest.mark.parametrize(
    ("name", "words"), [("cats", "holds no table cats"), ("books", "2 tables books"), ("", "no table")]
)
def test_a_table_that_is_not_there_or_there_twice_is_refused_by_name(name: str, words: str) -> None:
    with pytest.raises(Refused, match=words) as refused:
        matching(TABLES, name, "a", "app1")
    assert "public.books" in refused.value.then


def test_names_are_without_the_quotes_of_sql() -> None:
    assert plain('"a ""b"".c"."D"') == ('a "b".c', "D")


def test_a_dump_says_of_itself_what_it_is() -> None:
    point = uploaded.described("dump_1a2b3c4d", HEADER + ALEMBIC)
    assert (point.taken, point.bytes, point.snapshot) == ("2026-11-30T05:15:00Z", 2048, "dump_1a2b3c4d")
    assert point.manifest
    assert (point.manifest.revision, point.manifest.server, point.manifest.database) == ("0003", 150_000, "shop")
    bare = uploaded.described("dump_1a2b3c4d", HEADER).manifest
    assert bare
    assert bare.revision is None


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"--\n-- PostgreSQL database dump", "plain SQL"),
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (b"toc.dat\0\0", "of tar's format"),
        (b"", "empty"),
        (b"\x7fELF", "none of pg_dump's"),
    ],
)
def test_what_is_no_dump_of_the_custom_format_is_refused_by_what_it_is(
    tmp_path: Path, data: bytes, words: str
) -> None:  # fmt: skip
    (path := tmp_path / "old.dump").write_bytes(data)
    with pytest.raises(Refused, match=words) as refused:
        require_dump(path, begin(path))
    assert refused.value.slug == "no-dump"
    require_dump(path, b"PGDMP\x01\x0e")


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (Choice(""), "no recovery point was named"),
        (Choice("", table="books"), "no recovery point was named"),
        (Choice("a", dump="old.dump"), "POINT and --from"),
        (Choice("", dump="old.dump", table="books"), "--from and --table"),
        (Choice("a", volume="uploads", table="books"), "--volume and --table"),
    ],
)
def test_one_thing_is_restored_at_a_time(chosen: Choice, words: str) -> None:
    with pytest.raises(Refused, match=words):
        chosen.require_one()


@pytest.mark.parametrize("chosen", [Choice("a"), Choice("a", "uploads"), Choice("a", table="t"), Choice("", dump="f")])
def test_each_of_the_four_can_be_restored(chosen: Choice) -> None:
    chosen.require_one()


def test_a_point_of_a_time_that_has_not_come_is_never_the_latest(monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = (Point("old", "2020-01-01T00:00:00Z", 1), Point("new", "2020-01-02T00:00:00Z", 1))
    early = Point("early", "2999-01-01T00:00:00Z", 1)
    monkeypatch.setattr(console, "warn", (warned := list[str]()).append)
    assert [point.id for point in ordered((*shelf, early), LocalHost())] == ["early", "old", "new"]
    assert "the clock of localhost was ahead when early was taken" in warned[0]
    assert ordered(shelf, LocalHost()) == shelf
    assert len(warned) == 1


def test_a_manifest_of_a_newer_toolkit_is_read_where_that_is_possible() -> None:
    newer = {"version": 2, "taken": "x", "server": 150020, "database": "shop", "bytes": 1, "shards": [1]}
    assert read_manifest(newer).database == "shop"
    for document in ({**newer, "needs": 99}, {**newer, "rows": [1, 2]}):
        with pytest.raises(Refused, match="newer toolkit") as refused:
            read_manifest(document)
        assert refused.value.slug == "toolkit-too-old"
    with pytest.raises(ValueError, match="rows"):
        read_manifest({**newer, "version": 1, "rows": [1, 2]})


@pytest.mark.parametrize(
    ("database", "received", "needed"),
    [
        (7, False, 5 + 7 + 7),
        (7, True, 5 + 7 + 7 + 7),
        (2 * MAX_WAL, False, 5 + 3 * MAX_WAL),
        (2 * MAX_WAL, True, 5 + 5 * MAX_WAL),
    ],
    ids=["small", "received", "the server keeps a gigabyte", "and all of it is received"],
)
def test_a_restore_needs_room_for_its_wal_too(database: int, received: bool, needed: int) -> None:
    """A disk that fills up during a restore ends the live database, which is on the same."""
    assert room_needed(5, database, received=received) == needed
