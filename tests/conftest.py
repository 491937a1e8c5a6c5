"""What holds for every tier: a skip without a reason in tests/skips.toml fails the run; its end shows what failed."""

from __future__ import annotations

import json
import signal
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("steady", derandomize=True, deadline=None, database=None)
settings.load_profile("steady")

# where the whole run was put into the background by a script, Ctrl-C is ignored, and by all that it starts
signal.signal(signal.SIGINT, signal.default_int_handler)

LISTED = Path(__file__).parent / "skips.toml"
SLOWEST = 25
LINES = 25  # of each failure, at the end of the last run: a page of CI's log often shows no more than its end
skipped: list[str] = []
reports: list[tuple[str, str]] = []
durations: dict[str, float] = defaultdict(float)
failures: dict[str, str] = {}


@dataclass(frozen=True)
class Tier:
    """How many tests of one folder ran, and how many seconds they took, whichever workers ran them."""

    name: str
    tests: int
    seconds: float


def unlisted(found: Iterable[str], listed: Mapping[str, str]) -> Iterator[str]:
    """Name skipped tests without a reason in the list; a parametrized test goes by its plain name."""
    return (name for name in found if not listed.get(name.partition("[")[0]))


def tiers(seconds: Mapping[str, float]) -> list[Tier]:
    """Sum up the tests of each folder."""
    folders = defaultdict[str, list[float]](list)
    for test, taken in seconds.items():
        folders["/".join(Path(test.partition("::")[0]).parts[:2])].append(taken)
    return [Tier(name, len(taken), sum(taken)) for name, taken in folders.items()]


def slowest(seconds: Mapping[str, float], count: int = SLOWEST) -> list[tuple[str, float]]:
    """Sort out the tests that took longest, fixtures included."""
    return sorted(seconds.items(), key=lambda row: -row[1])[:count]


def is_worker(config: pytest.Config) -> bool:
    """Tell whether this is one of several processes, whose reports another one receives."""
    return hasattr(config, "workerinput")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--summary", type=Path, help="a file that keeps seconds and failures of several runs, for one summary of all"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    report.nodeid = report.nodeid.rpartition("@")[0] if is_grouped(report.nodeid) else report.nodeid
    durations[report.nodeid] += report.duration
    if report.failed:
        failures[report.nodeid] = "\n".join(report.longreprtext.splitlines()[-LINES:])
    if report.skipped and not hasattr(report, "wasxfail"):
        skipped.append(report.nodeid)
    if report.when == "call":
        reports.extend((report.nodeid, str(text)) for name, text in report.user_properties if name == "report")


def is_grouped(test: str) -> bool:
    """Tell whether pytest-xdist added the name of a group to a test's id, which is nothing to type."""
    return "@" in test and test.rpartition("@")[2].isidentifier()


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.skipped:
        skipped.append(report.nodeid)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    bad = [] if is_worker(session.config) else list(unlisted(skipped, tomllib.loads(LISTED.read_text())))
    if bad:
        if session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print(f"\nskipped without a reason in tests/skips.toml: {', '.join(bad)}")  # noqa: T201  # pytest's own report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for test, text in reports:
        terminalreporter.section(test, sep="-")
        terminalreporter.write_line(text)
    seconds, failed = collected(config.getoption("summary"), durations, failures)
    terminalreporter.section(f"seconds of the {SLOWEST} slowest tests and of each tier")
    for test, taken in slowest(seconds):
        terminalreporter.write_line(f"{taken:8.1f}  {test}")
    for tier in tiers(seconds):
        terminalreporter.write_line(f"{tier.seconds:8.1f}  {tier.name}: {tier.tests} tests")
    for test, text in failed.items():
        terminalreporter.section(f"FAILED {test}", sep="-")
        terminalreporter.write_line(text)


def collected(
    path: Path | None, seconds: Mapping[str, float], failed: Mapping[str, str]
) -> tuple[Mapping[str, float], Mapping[str, str]]:
    """Add this run's seconds and failures to those of the runs before it, where a file keeps them."""
    if path is None:
        return seconds, {}  # of one run alone pytest shows the failures itself
    before = json.loads(path.read_text()) if path.exists() else {"seconds": {}, "failed": {}}
    merged = {**before["seconds"], **seconds}, {**before["failed"], **failed}
    path.write_text(json.dumps(dict(zip(("seconds", "failed"), merged, strict=True))))
    return merged
