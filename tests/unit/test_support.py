"""What keeps tests that run side by side out of each other's way."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from tests.nights import conftest, report
from tests.support.site import PORTS, ports


def test_no_port_is_of_two_workers_and_none_is_given_away_by_the_kernel() -> None:
    first, second = ({*islice(ports(worker), PORTS * 2)} for worker in ("gw0", "gw1"))
    assert len(first) == len(second) == PORTS
    assert not first & second
    assert max(first | second) < 32_768


PAGE = f"""{report.HEAD}| edge | a | fault | told | PASS | 1 | 111 |
| edge | gone | fault | told | PASS | 1 | 111 |
| data | b | fault | told | PASS | 1 | 222 |
"""
AGAIN = "| edge | a | fault | told | FAIL | 2 | 333 |\n"


def test_a_room_that_is_run_again_rewrites_its_own_rows_of_the_page_and_no_others() -> None:
    kept = "| data | b | fault | told | PASS | 1 | 222 |\n"
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
