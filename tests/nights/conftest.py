"""The nights' sites, and the report that they leave in docs/nights.md when NIGHTS_REPORT names it."""

from __future__ import annotations

import os
from collections.abc import Collection, Generator, Iterator
from pathlib import Path

import pytest

from tests.nights import report
from tests.nights.night import Night, make_night

ROWS: dict[str, report.Row] = {}
ROOMS = ("deploy", "data", "gates", "monitoring", "edge")
AREAS = {  # the others are `deploy`
    "test_backup": "data",
    "test_backups": "data",
    "test_canary": "gates",
    "test_certificates": "edge",
    "test_django": "data",
    "test_dns_challenge": "edge",
    "test_drill": "data",
    "test_edge": "edge",
    "test_from_nothing": "edge",
    "test_gates": "gates",
    "test_incidents": "monitoring",
    "test_migrations": "data",
    "test_monitoring": "monitoring",
    "test_offsite": "data",
    "test_page": "monitoring",
    "test_provisioning": "edge",
    "test_rebuild": "data",
    "test_registry": "gates",
    "test_scan": "gates",
    "test_several_edges": "edge",
    "test_slow_line": "data",
    "test_tasks": "monitoring",
    "test_terraform": "edge",
    "test_timers": "data",
    "test_two_tags": "gates",
    "test_wal": "data",
    "test_workflows": "gates",
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the room whose nights are run, and whose rows of the report are written."""
    parser.addoption("--room", choices=ROOMS, default="", help="the nights of one room alone")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the nights of other rooms where one was chosen."""
    room = config.getoption("room")
    others = [item for item in items if room and room_of(item) != room]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]


def room_of(item: pytest.Item) -> str:
    """Return the room that a night belongs to."""
    return AREAS.get(item.path.stem, "deploy")


@pytest.fixture
def dusk(tmp_path: Path) -> Iterator[Night]:
    """A tiny site that nothing was deployed to."""
    night = make_night(tmp_path)
    try:
        yield night
    finally:
        night.ends()


@pytest.fixture
def night(dusk: Night) -> Night:
    """A tiny site with a release in service."""
    dusk.falls()
    return dusk


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep a row of each night: its parts' seconds, its verdict, what it had to tell."""
    seen = yield
    row = ROWS.setdefault(item.nodeid, report.Row(item.nodeid, fault(item), room_of(item)))
    row.seconds += call.duration
    for used in getattr(item, "funcargs", {}).values():
        row.story = list(getattr(used, "story", row.story))
    row.judge(seen)
    return seen


def fault(item: pytest.Item) -> str:
    """Return a test's first line of documentation, which names the fault."""
    body = getattr(item, "function", None)
    return (getattr(body, "__doc__", None) or "").strip().partition("\n")[0]


def pytest_runtest_logfinish(nodeid: str) -> None:
    """Write the report after each night, too: whoever is cut off by a limit keeps the rows of those that have ended."""
    place = os.environ.get("NIGHTS_REPORT")
    if place and nodeid in ROWS:
        report.write(Path(place), list(ROWS.values()))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the report; one that was cut short, or a choice within a room, takes no other row away."""
    place, options = os.environ.get("NIGHTS_REPORT"), session.config.option
    ended = exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
    whole = ended and is_whole(session.config.args, keyword=options.keyword, maxfail=options.maxfail)
    if place and ROWS:
        report.write(Path(place), list(ROWS.values()), options.room if whole else "")


def is_whole(paths: Collection[str], *, keyword: str, maxfail: int) -> bool:
    """Tell whether a run was of all nights: only then a row that is not among its own is of a night that is no more."""
    return "tests/nights" in paths and not keyword and not maxfail
