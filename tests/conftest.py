"""What holds for every storey: a skip that tests/skips.toml does not list fails the run; reports of load are printed at its end."""

from __future__ import annotations

import signal
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.load_profile("steady")

# where the whole run was put into the background by a script, Ctrl-C is ignored, and by all that it starts
signal.signal(signal.SIGINT, signal.default_int_handler)

LISTED = Path(__file__).parent / "skips.toml"
skipped: list[str] = []
reports: list[tuple[str, str]] = []


def unlisted(found: list[str], listed: Mapping[str, str]) -> Iterator[str]:
    """Name skipped tests without a reason in the list; a parametrized test goes by its plain name."""
    return (name for name in found if not listed.get(name.partition("[")[0]))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin the tests on the real engine with the shortest that goes all the way."""
    items.sort(key=lambda item: "tests/integration" in item.nodeid and "test_tiny.py" not in item.nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        skipped.append(report.nodeid)
    if report.when == "call":
        reports.extend((report.nodeid, str(text)) for name, text in report.user_properties if name == "report")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    bad = list(unlisted(skipped, tomllib.loads(LISTED.read_text())))
    if bad and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nskipped without a reason in tests/skips.toml: {', '.join(bad)}")  # noqa: T201  # pytest's own report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for test, text in reports:
        terminalreporter.section(test, sep="-")
        terminalreporter.write_line(text)
