"""What the nights came to, as a page for people."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.site import ROOT, docker

HEAD = """# Bad nights

Real faults on a real engine, one row each. `nox -s nights` runs them and writes this page; the code is in `tests/nights`.
A night passes when something serves, the exit code and the message are right, nothing is stranded, and the next plain
command converges to an empty plan. "No fault": a second case of a promise of which `tests/integration` has one.

{when}, {engine}: {passed} of {all} passed. `nox -s nights -- --room=data` runs one room's and rewrites their rows; the others keep
theirs, with the commit that they were seen on.

| room | night | fault | what happened | verdict | seconds | commit |
|---|---|---|---|---|---:|---|
"""


@dataclass
class Row:
    """One night."""

    test: str
    fault: str
    room: str
    story: list[str] = field(default_factory=list)
    verdict: str = "NOT FINISHED"
    seconds: float = 0.0
    reason: str = ""  # of a night that was skipped

    def judge(self, seen: pytest.TestReport) -> None:
        """Take one phase of the test into account."""
        if hasattr(seen, "wasxfail"):
            self.verdict = "KNOWN BUG" if seen.skipped else "FAIL"
            self.story.append(seen.wasxfail)
        elif seen.skipped:
            self.verdict = "SKIPPED"
            self.reason = seen.longrepr[2].removeprefix("Skipped: ") if isinstance(seen.longrepr, tuple) else ""
        elif not seen.passed:
            self.verdict = "FAIL"
        elif seen.when == "call":
            self.verdict = "PASS"

    @property
    def night(self) -> str:
        """The test's name as words."""
        name, _, case = self.test.rpartition("::")[2].removeprefix("test_").partition("[")
        return name.replace("_", " ") + (f": {case.rstrip(']')}" if case else "")

    def line(self, commit: str) -> str:
        """One line of the table."""
        story = (
            "; ".join(self.story)
            or self.reason
            or ("as it should be" if self.verdict == "PASS" else "not what it should be; the test's output says what")
        )
        texts = (
            self.room,
            cell(self.night),
            cell(self.fault),
            cell(story),
            self.verdict,
            f"{self.seconds:.0f}",
            commit,
        )
        return f"| {' | '.join(texts)} |\n"


def cell(text: str) -> str:
    """Write a text so that it stays in its cell, and names no place of this machine."""
    shown = " ".join(text.replace("|", "\\|").split())
    shown = re.sub(r"/\S*/(?=[\w.-]+)", "…/", shown) if len(shown) > 40 else shown
    return re.sub(r"\b[0-9a-f]{12}-[0-9a-f]{6}\b", "RELEASE", shown)[:420]


def git(*words: str) -> str:
    """Ask git about this checkout."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def write(path: Path, rows: list[Row], room: str = "") -> None:
    """Write the page; nights that were not run keep their rows, but of a `room` that was run those that are no more."""
    commit = git("rev-parse", "--short", "HEAD") + (
        "-dirty" if git("status", "--porcelain", "--", ".", ":!docs/nights.md") else ""
    )
    engine = "Docker Engine " + docker("version", "--format", "{{.Server.Version}}").strip()
    page = path.read_text() if path.exists() else ""
    lines = merged(page, [row.line(commit) for row in rows], room)
    passed = sum("| PASS |" in line for line in lines)
    head = HEAD.format(when=datetime.now(UTC).strftime("%Y-%m-%d"), engine=engine, all=len(lines), passed=passed)
    path.write_text(head + "".join(lines))


def merged(page: str, new: list[str], room: str = "") -> list[str]:
    """Put new rows in the place of the page's old ones, and leave out what is left of a room. Pure."""
    old = [line for line in page.splitlines(keepends=True) if line.startswith("| ") and not line.startswith("| room |")]
    named = {tuple(line.split(" | ")[:2]) for line in new}
    stay = [line for line in old if not line.startswith(f"| {room} |") or tuple(line.split(" | ")[:2]) in named]
    return [*{tuple(line.split(" | ")[:2]): line for line in [*stay, *new]}.values()]
