"""Recovery points: how far each is proven, what speaks against one, what is left of a restore. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.backups.health import AskApp
from deploy.backups.points import Evidence, EvidenceFile, Manifest, Point, differences, joined, losses
from deploy.backups.repository import documents
from deploy.backups.restore import steps
from deploy.backups.show import age, size, standing
from deploy.backups.steps import CheckRestored, Names, RecordSchema, RestoreBeside, SwapDatabases
from deploy.backups.take import left_out
from deploy.core import yaml
from deploy.core.model import LABEL
from deploy.hosts.local import LocalHost

NAMES = Names("shop", "shop_before_1", "shop_restored_a")


def manifest(**rows: int) -> Manifest:
    return Manifest(
        taken="2026-11-30T05:00:00Z", server=150020, database="shop", bytes=1, revision="r1", rows=rows,
        extensions={"plpgsql": "1.0"},
    )  # fmt: skip


def line(state: Any, point: str = "a", time: str = "2026-11-30T05:00:00Z", **more: Any) -> Evidence:
    return Evidence(point=point, state=state, time=time, **more)


@pytest.mark.parametrize(
    ("proven", "state"),
    [
        ([], "taken"),
        (["taken", "read"], "read"),
        (["taken", "restored", "read"], "restored"),
    ],
)
def test_a_point_is_as_good_as_the_best_that_was_proven(proven: list[str], state: str) -> None:
    assert Point("a", "", 0, tuple(map(line, proven))).state == state


def test_a_point_that_lost_much_is_suspect_until_it_was_restored_and_is_no_measure_for_the_next() -> None:
    days = [{"short_id": name, "time": f"2026-11-{day}T05:00:00Z"} for day, name in enumerate("abcd", 10)]
    rows = {"a": 100, "b": 0, "c": 1, "d": 100}
    lines = [line("taken", name, manifest=manifest(books=number)) for name, number in rows.items()]
    assert [point.state for point in joined(days, lines)] == ["taken", "suspect", "suspect", "taken"]
    right = [*lines, line("restored", "c")]
    assert [point.state for point in joined(days, right)] == ["taken", "suspect", "restored", "taken"]
    assert joined(days, lines)[1].proof == "books is empty, and had 100 rows before; 0 rows in all, and 100 before"


def test_snapshots_that_nothing_is_remembered_of_are_listed_all_the_same() -> None:
    snapshot = {"short_id": "a", "time": "2026-11-30T05:00:00.123456789Z", "summary": {"total_bytes_processed": 7}}
    old = {"short_id": "b", "time": "2026-11-29T05:00:00Z"}
    points = joined([old, snapshot], [line("restored", manifest=manifest(books=1), release="r"), line("read", "gone")])
    assert [(p.id, p.taken, p.bytes, p.state, p.release) for p in points] == [
        ("b", "2026-11-29T05:00:00Z", 0, "taken", ""),
        ("a", "2026-11-30T05:00:00Z", 7, "restored", "r"),
    ]
    assert points[0].manifest is None


@pytest.mark.parametrize(
    ("before", "now", "reasons"),
    [
        ({"books": 12}, {"books": 12}, []),
        ({"books": 12}, {"books": 9}, []),
        ({"books": 0}, {"books": 0}, []),
        ({"books": 12, "tags": 90}, {"books": 0, "tags": 90}, ["books is empty, and had 12 rows before"]),
        ({"books": 12, "tags": 90}, {"tags": 90}, ["books is empty, and had 12 rows before"]),
        ({"books": 100}, {"books": 49}, ["49 rows in all, and 100 before"]),
        ({"books": 100}, {"books": 50}, []),
        ({"outbox": 1, "books": 90}, {"outbox": 0, "books": 90}, []),
    ],
)
def test_what_speaks_against_a_point(before: dict[str, int], now: dict[str, int], reasons: list[str]) -> None:
    assert losses(manifest(**before), manifest(**now)) == reasons


def test_a_table_that_a_migration_took_is_no_loss() -> None:
    after = manifest(tags=90).model_copy(update={"revision": "r2"})
    assert losses(manifest(books=12, tags=90), after) == []


def test_a_time_of_another_zone_is_written_in_utc() -> None:
    (point,) = joined([{"short_id": "a", "time": "2026-11-30T07:36:00.123456789+01:00"}], [])
    assert point.taken == "2026-11-30T06:36:00Z"


def test_a_restored_database_that_differs_is_told_apart() -> None:
    assert differences(manifest(books=2), manifest(books=2)) == []
    assert differences(manifest(books=2), manifest(books=1)) == ["books has 1 rows, and had 2"]
    assert differences(manifest(books=2), manifest()) == ["books has no table rows, and had 2"]
    assert differences(manifest(), manifest().model_copy(update={"revision": "r2"})) == [
        "schema revision: r2, and was r1"
    ]


def test_what_is_left_of_a_restore() -> None:
    point = Point("a", "", 0, (line("taken", manifest=manifest()),))
    checked, swapped = [RestoreBeside(NAMES.new), CheckRestored(NAMES.new)], [SwapDatabases(NAMES), RecordSchema("r1")]
    whole = [*checked, AskApp(NAMES.new), *swapped]
    assert steps(point, NAMES, frozenset({"shop"})) == whole
    assert steps(point, NAMES, frozenset({"shop"}), ask=False) == [*checked, *swapped]
    assert steps(point, NAMES, frozenset({"shop", NAMES.new})) == whole, "half a database is restored again"
    assert steps(point, NAMES, frozenset({"shop", NAMES.kept})) == [RecordSchema("r1")], "never swapped twice"
    assert steps(Point("a", "", 0), NAMES, frozenset({"shop", NAMES.kept})) == []


def test_the_databases_of_a_restore_have_names_that_postgresql_takes() -> None:
    names = Names.at("a" * 60, "2026-11-30T05:15:00Z", "1a2b3c4d")
    assert names.kept.endswith("_before_20261130051500")
    assert len(names.kept) < 64
    assert len(names.new) < 64


def test_evidence_that_a_crash_cut_short_is_passed_over(tmp_path: Path) -> None:
    file = EvidenceFile(LocalHost(), tmp_path)
    assert file.lines() == ()
    file.prove("a", "read", "sha256 x")
    with (tmp_path / "backups.jsonl").open("a") as torn:
        torn.write('{"version": 1, "point": "b", "sta')
    assert [(one.point, one.state, one.detail) for one in file.lines()] == [("a", "read", "sha256 x")]


def test_volumes_that_hold_data_and_are_not_saved_are_named() -> None:
    def service(name: str, role: str, *mounts: str, **labels: str) -> dict[str, Any]:
        own = {f"{LABEL}.service": name, f"{LABEL}.role": role, **{f"{LABEL}.{key}": it for key, it in labels.items()}}
        volumes = [{"type": "volume", "source": mount, "target": f"/data/{mount}"} for mount in mounts]
        return {name: {"labels": own, "volumes": volumes}}

    def elsewhere(name: str, mount: str) -> dict[str, Any]:
        spec = service(name, "backup", mount)
        spec[name]["volumes"][0]["target"] = "/elsewhere"
        return spec

    names = ("pg", "queue", "search", "uploads", "avatars", "site", "repository")
    volumes = {name: {"name": f"shop-prod_{name}"} for name in names}
    shared = {
        **service("db", "data", "pg", backup="dump"), **service("redis", "data", "queue", backup="none"),
        **service("search", "data", "search"), **service("edge", "edge", "site"),
        **service("backup", "backup", "uploads", "repository"),
    }  # fmt: skip
    colour = {**service("web", "web", "uploads", "avatars"), **service("assets", "job", "site")}
    files = {
        name: yaml.dump_rendered({"services": services, "volumes": volumes})
        for name, services in (("shared.yml", shared), ("blue.yml", colour))
    }
    forgotten = {**shared, **elsewhere("backup", "uploads")}
    wrong = {**files, "shared.yml": yaml.dump_rendered({"services": forgotten, "volumes": volumes})}
    assert "shop-prod_uploads (web)" in left_out(wrong), "only what is below /data is saved"
    assert left_out(files) == ("shop-prod_search (search)", "shop-prod_avatars (web)")


def test_sizes_and_ages_are_for_people() -> None:
    assert [size(n) for n in (0, 999, 1000, 84_344_167, 3e12)] == ["0 B", "999 B", "1.0 KB", "84.3 MB", "3.0 TB"]
    at = datetime(2026, 11, 30, 5, 0, 30, tzinfo=UTC)
    taken = ("2026-11-30T05:00:00Z", "2026-11-30T04:30:00Z", "2026-11-29T22:00:00Z", "2026-11-20T05:00:00Z")
    assert [age(time, at) for time in taken] == ["30 s", "30 min", "7 h", "10 d"]


def test_what_status_says_of_backups() -> None:
    assert standing([]).words == "backups: no record of one: inv backup takes one, inv backup.list shows what is there"
    words = standing([line("taken"), line("read")], "/backups").words
    assert "none was restored: inv backup.drill; all are on the host of the data, and are lost with it" in words
    both = [line("taken"), line("restored", time="2026-11-30T06:00:00Z"), line("taken", time="2026-11-30T05:30:00Z")]
    times = {"taken": "2026-11-30T05:30:00Z", "restored": "2026-11-30T06:00:00Z", "offsite": None}
    assert standing(both, "/backups").document == {**times, "leaves_host": False, "point_in_time": None}
    far = "sftp://backup@vault.example.org//srv/books"
    assert standing(both, "/backups", far).words.endswith("; none is off-site: inv backup.copy")
    copied = [*both, line("taken", place="off-site", time="2026-11-30T05:31:00Z")]
    assert standing(copied, "/backups", far).document == {
        **times,
        "offsite": "2026-11-30T05:31:00Z",
        "leaves_host": True,
        "point_in_time": None,
    }
    assert standing(both, far).words.endswith(f"; they go to {far}")


def test_a_copy_off_site_is_the_same_point_and_one_that_is_only_there_is_listed() -> None:
    near = [{"short_id": "a", "time": "2026-11-29T05:00:00Z"}, {"short_id": "b", "time": "2026-11-30T05:00:00Z"}]
    far = [
        {"short_id": "z", "original": "0" * 64, "time": "2026-11-28T05:00:00Z"},
        {"short_id": "y", "original": "a", "time": "2026-11-29T05:00:00Z"},
    ]
    points = joined(near, [line("read")], far)
    assert [(one.id, dict(one.copies), one.state) for one in points] == [
        ("0" * 8, {"off-site": "z"}, "taken"),
        ("a", {"local": "a", "off-site": "y"}, "read"),
        ("b", {"local": "b"}, "taken"),
    ]
    (back,) = joined([{**far[1], "short_id": "x"}], [line("read")])
    assert (back.id, back.snapshot, back.state) == ("a", "x", "read"), "fetched from there it is the same one again"


def test_a_restore_of_the_local_copy_is_no_proof_of_the_one_that_is_left_off_site() -> None:
    far = [{"short_id": "y", "original": "a", "time": "2026-11-29T05:00:00Z"}]
    lines = [line("taken"), line("read", place="off-site", detail="off-site: sha256 x"), line("restored")]
    (left,) = joined([], lines, far)
    assert (left.state, left.proof) == ("read", "2026-11-30T05:00:00Z off-site: sha256 x")
    (both,) = joined([{"short_id": "a", "time": "2026-11-29T05:00:00Z"}], lines, far)
    assert both.state == "restored"


def test_other_databases_of_the_server_are_named_but_for_what_restores_made() -> None:
    others = (
        "jobs",
        "shop_before_20261130201329",
        "shop_aborted_20261130201329",
        "shop_restored_c29bea67",
        "shop_table_c29bea67",
        "seats_table_plan",
    )
    manifest = Manifest(taken="", server=150020, database="shop", bytes=1, others=others)
    assert manifest.unsaved == ("jobs", "seats_table_plan"), "what another app calls so is its own"
    long = "a" * 40
    made = Names.at(long, "2026-11-30T20:13:29Z", "c29bea67")
    assert not manifest.model_copy(update={"database": long, "others": (made.kept, made.new)}).unsaved


@pytest.mark.parametrize(
    "progress",
    [
        '{"message_type":"status","seconds_elapsed":5,"percent_done":1,"total_files":1}',
        "[0:05] 12.24%  1 files/dirs 2.000 MiB, total 4 files/dirs 16.341 MiB",
        "[1:00:05] 99.30%  3 files/dirs 2.000 GiB, total 4 files/dirs 2.341 GiB",
    ],
    ids=["backup", "restore", "an hour later"],
)
def test_how_far_restic_is_does_not_count_among_its_documents(progress: str) -> None:
    """As restic 0.18 prints it every five seconds where RESTIC_PROGRESS_FPS is set, with --quiet too."""
    printed = "\n".join(['{"version": 1}', progress, progress, '{"message_type":"summary","snapshot_id":"abc"}', "[]"])
    assert documents(printed) == [{"version": 1}, {"message_type": "summary", "snapshot_id": "abc"}, []]
