"""Time commands, and the moment at which a release is first served."""

from __future__ import annotations

import http.client
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Number:
    """One row of the report: seconds (or another unit) of each run, and what the design asks."""

    what: str
    unit: str
    must: float | None = None
    aim: float | None = None
    runs: list[float] = field(default_factory=list)
    note: str = ""

    @property
    def median(self) -> float:
        """The middle one of the runs."""
        return statistics.median(self.runs)

    @property
    def verdict(self) -> str:
        """Whether the median keeps the must and the aim."""
        if self.must is None:
            return "-"
        return (
            "missed"
            if self.median > self.must
            else "aim"
            if self.aim is not None and self.median <= self.aim
            else "must"
        )


def timed(work: Callable[[], object]) -> float:
    """Seconds that something took."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def run(*words: str, cwd: str | None = None, env: dict[str, str] | None = None) -> str:
    """Run a command; raise with its output when it fails."""
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


class Watcher:
    """Asks a site for its version every 20 ms and remembers when each was first answered."""

    def __init__(self, port: int) -> None:
        self.port, self.stop = port, threading.Event()
        self.first: dict[str, float] = {}
        self.thread = threading.Thread(target=self.watch)

    def watch(self) -> None:
        """Ask until `stop` is set; a site that does not answer is asked again."""
        while not self.stop.wait(0.02):
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            try:
                connection.request("GET", "/api/version")
                answer = connection.getresponse()
                if answer.status == 200:
                    self.first.setdefault(answer.read().decode(), time.monotonic())
            except (OSError, http.client.HTTPException):
                pass
            finally:
                connection.close()


@contextmanager
def watching(port: int) -> Iterator[Watcher]:
    """Watch a site's version while something is done to it."""
    watcher = Watcher(port)
    watcher.thread.start()
    try:
        yield watcher
    finally:
        watcher.stop.set()
        watcher.thread.join()


def until_served(port: int, release: str | None, work: Callable[[], str | None]) -> tuple[float, float]:
    """Do something; return seconds until the release that it names was first served, and until it ended."""
    with watching(port) as watcher:
        began = time.monotonic()
        named = work() or release or ""
        ended = time.monotonic()
        while not (moments := [at for body, at in watcher.first.items() if f'"{named}"' in body]):
            if time.monotonic() - ended > 30:
                raise RuntimeError(f"release {named} was never served; answers were: {list(watcher.first)}")
            watcher.stop.wait(0.02)
    return moments[0] - began, ended - began
