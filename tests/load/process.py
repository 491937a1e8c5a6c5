"""Run the clients in a process of their own, around synchronous code."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .report import Report
from .scenario import Scenario

RUNNING = '{"state": "running"}'
_SPARE_SECONDS = 120.0


class Clients:
    """Hold the process of one run."""

    def __init__(self, url: str, scenario: Scenario) -> None:
        arguments = ["--url", url, "--scenario", json.dumps(scenario.plain()), "--until-eof", "--json", "-"]
        self._limit = scenario.grace + _SPARE_SECONDS
        self._report: Report | None = None
        # Unbuffered, so that reading the first line takes nothing of the report.
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}", *arguments],
            cwd=Path(__file__).parents[__package__.count(".") + 1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def wait_until_running(self) -> None:
        """Return as soon as the clients have had their first answers."""
        assert self._process.stdout
        if self._process.stdout.readline().decode().strip() != RUNNING:
            raise RuntimeError(f"the clients did not start, exit code {self._process.wait(self._limit)}")

    def report(self) -> Report:
        """Stop the clients and give their report."""
        if self._report is None:
            output, _ = self._process.communicate(timeout=self._limit)
            if not output:
                raise RuntimeError(f"no report from the clients, exit code {self._process.returncode}")
            self._report = Report.from_json(output.decode())
        return self._report

    def end(self) -> None:
        """Leave no process behind."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


@contextmanager
def during(url: str, scenario: Scenario | None = None) -> Iterator[Clients]:
    """Run the clients around a block of synchronous code that asks for their report at its end."""
    clients = Clients(url, scenario or Scenario())
    try:
        clients.wait_until_running()
        yield clients
    finally:
        clients.end()
