"""The nights' sites, and the report that they leave in docs/nights.md when NIGHTS_REPORT names it."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.nights import report
from tests.nights.night import Night, make_night

ROWS: dict[str, report.Row] = {}
AREAS = {"test_edge": "edge"}  # what is not named here is `deploy`


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each night with its area, so that `nox -s nights -- -m edge` runs those."""
    for item in items:
        item.add_marker(AREAS.get(item.path.stem, "deploy"))


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
    row = ROWS.setdefault(item.nodeid, report.Row(item.nodeid, fault(item)))
    row.seconds += call.duration
    for told in getattr(item, "funcargs", {}).values():
        row.story = list(told.story) if isinstance(told, Night) else row.story
    row.judge(seen)
    return seen


def fault(item: pytest.Item) -> str:
    """Return a test's first line of documentation, which names the fault."""
    body = getattr(item, "function", None)
    return (getattr(body, "__doc__", None) or "").strip().partition("\n")[0]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the report."""
    place = os.environ.get("NIGHTS_REPORT")
    if place and ROWS:
        report.write(Path(place), list(ROWS.values()))
