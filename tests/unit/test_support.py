"""What keeps tests that run side by side out of each other's way."""

from __future__ import annotations

from itertools import islice

import pytest

from tests.nights import report
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


def test_a_night_that_was_skipped_says_why_in_its_row() -> None:
    row = report.Row("tests/nights/test_x.py::test_clouds", "No fault.", "edge")
    skipped = ("x.py", 1, "Skipped: UNKNOWN: terraform is not on this machine")
    row.judge(pytest.TestReport("x", ("x.py", 1, ""), {}, "skipped", skipped, "call"))
    line = "| edge | clouds | No fault. | UNKNOWN: terraform is not on this machine | SKIPPED | 0 | 444 |\n"
    assert row.line("444") == line
