"""The report of the nights: which rows a run may rewrite, and which it may take away."""

from __future__ import annotations

import pytest

from deploy.config.settings import ROOT
from tests.nights.conftest import AREAS, ROOMS, is_whole
from tests.nights.report import HEAD, Row, merged

PAGE = HEAD.format(when="2026-11-30", engine="Docker Engine", passed=3, all=3)
OLD = [Row(f"tests/nights/test_{name}", "a fault", room, verdict="PASS") for room, name in
       (("data", "wal.py::test_a_gap"), ("data", "wal.py::test_no_more"), ("edge", "edge.py::test_a_flood"))]  # fmt: skip


def nights(lines: list[str]) -> list[tuple[str, str, str]]:
    """Return room, night and commit of rows."""
    return [(cells[1].strip(), cells[2].strip(), cells[7].strip()) for cells in (line.split("|") for line in lines)]


@pytest.mark.parametrize(
    ("room", "gone"), [("", False), ("data", True), ("edge", False)], ids=["a file", "its room", "another room"]
)
def test_a_run_rewrites_its_rows_and_takes_away_only_those_of_a_room_that_ran_whole(room: str, gone: bool) -> None:
    page = PAGE + "".join(row.line("old") for row in OLD)
    ran = [row for row in OLD if row.room == (room or "data") and row.night != "no more"]
    kept = nights(merged(page, [row.line("new") for row in ran], room))
    assert (("data", "no more", "old") not in kept) == gone
    new = {row.night for row in ran}
    assert all(
        (row.room, row.night, "new" if row.night in new else "old") in kept for row in OLD if row.night != "no more"
    )


@pytest.mark.parametrize(
    ("paths", "keyword", "maxfail", "whole"),
    [
        (["tests/nights", "tests/integration/test_drill.py"], "", 0, True),
        (["tests/nights/test_wal.py"], "", 0, False),
        (["tests/nights"], "gap", 0, False),
        (["tests/nights"], "", 1, False),
    ],
)
def test_a_choice_of_nights_is_not_the_whole(paths: list[str], keyword: str, maxfail: int, whole: bool) -> None:
    assert is_whole(paths, keyword=keyword, maxfail=maxfail) == whole


def test_every_file_with_a_room_is_there() -> None:
    names = {path.stem for folder in ("nights", "integration") for path in (ROOT / "tests" / folder).glob("test_*.py")}
    assert AREAS.keys() <= names
    assert {*AREAS.values()} <= {*ROOMS}
