"""The report of the nights: which rows a run may rewrite, and which it may take away."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.config.settings import ROOT
from tests.nights import conftest, report
from tests.nights.conftest import AREAS, ROOMS, is_whole

PAGE = f"""{report.HEAD}| edge | a | fault | story | PASS | 1 | 111 |
| edge | gone | fault | story | PASS | 1 | 111 |
| data | b | fault | story | PASS | 1 | 222 |
"""
AGAIN = "| edge | a | fault | story | FAIL | 2 | 333 |\n"


def test_a_room_that_is_run_again_rewrites_its_own_rows_of_the_page_and_no_others() -> None:
    kept = "| data | b | fault | story | PASS | 1 | 222 |\n"
    assert report.merged(PAGE, [AGAIN], "edge") == [AGAIN, kept]
    assert report.merged(PAGE, [AGAIN]) == [AGAIN, PAGE.splitlines(keepends=True)[-2], kept], "a choice of nights"


def test_a_row_is_written_when_its_night_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of a run may come in a later one."""
    written, row = list[tuple[object, ...]](), report.Row("test_a", "fault", "edge")
    monkeypatch.setattr(report, "write", lambda *one: written.append(one))
    monkeypatch.setattr(conftest, "ROWS", {"test_a": row})
    monkeypatch.setenv("NIGHTS_REPORT", "nights.md")
    conftest.pytest_runtest_logfinish("test_of_another_folder")
    conftest.pytest_runtest_logfinish("test_a")
    assert written == [(Path("nights.md"), [row])]


def test_a_night_that_was_skipped_says_why_in_its_row() -> None:
    row = report.Row("tests/nights/test_x.py::test_clouds", "No fault.", "edge")
    skipped = ("x.py", 1, "Skipped: UNKNOWN: terraform is not on this machine")
    row.judge(pytest.TestReport("x", ("x.py", 1, ""), {}, "skipped", skipped, "call"))
    line = "| edge | clouds | No fault. | UNKNOWN: terraform is not on this machine | SKIPPED | 0 | 444 |\n"
    assert row.line("444") == line


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
