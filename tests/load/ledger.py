"""Count every request and what became of it, while the run goes on."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from .scenario import Scenario, Target

KEEP_LOSSES = 50


class Interrupted(Exception):
    """Say that the server announced its restart before it answered."""


@dataclass
class Tally:
    """Count the requests of one kind."""

    requests: int = 0
    ok: int = 0
    lost: int = 0
    interrupted: int = 0
    reopened: int = 0
    latencies: list[float] = field(default_factory=list)


@dataclass
class Attempt:
    """Tell afterwards how one request ended; neither means lost."""

    ok: bool = False
    interrupted: bool = False


@dataclass(frozen=True)
class Loss:
    """Describe one lost request."""

    kind: str
    at: float
    after_ms: float
    path: str
    what: str


@dataclass
class Release:
    """Count the version requests that one release answered."""

    requests: int
    first: float
    last: float


class Ledger:
    """Keep the counts of one run; nothing is ever taken out of it."""

    def __init__(self, kinds: tuple[str, ...]) -> None:
        self.started = monotonic()
        self.tallies = {kind: Tally() for kind in kinds}
        self.losses: list[Loss] = []
        self.releases: dict[str, Release] = {}
        self.assets: set[str] = set()
        self.errors: list[str] = []
        self.sockets = self.failed_but_stored = self.left_behind = 0

    @contextmanager
    def request(self, kind: str, path: str, travel: float = 0.0) -> Iterator[Attempt]:
        """Count one request as ok, lost or interrupted, however its block ends."""
        tally, begun, attempt = self.tallies[kind], monotonic(), Attempt()
        tally.requests += 1
        try:
            yield attempt
        except Interrupted:
            tally.interrupted += 1
            attempt.interrupted = True
        except asyncio.CancelledError:
            self._lose(kind, path, "not finished when the run had to end", begun)
            raise
        except Exception as error:
            self._lose(kind, path, f"{type(error).__name__}: {error}", begun)
        else:
            tally.ok += 1
            attempt.ok = True
            tally.latencies.append(monotonic() - begun - travel)

    def lost_connection(self, kind: str, path: str, what: str) -> None:
        """Count a connection that broke although no request was waiting on it."""
        self.tallies[kind].requests += 1
        self._lose(kind, path, what, monotonic())

    def retract(self, kind: str, path: str, what: str) -> None:
        """Turn a request that seemed ok into a lost one."""
        self.tallies[kind].ok -= 1
        self._lose(kind, path, what, monotonic())

    def doubled_failure(self, kind: str, path: str, what: str) -> None:
        """Describe a further fault of a request that is counted as lost already."""
        self._describe(kind, path, what, monotonic())

    def saw_release(self, name: str) -> None:
        """Count one version response of a release."""
        now = monotonic() - self.started
        seen = self.releases.setdefault(name, Release(0, now, now))
        seen.requests, seen.last = seen.requests + 1, now

    def _lose(self, kind: str, path: str, what: str, begun: float) -> None:
        self.tallies[kind].lost += 1
        self._describe(kind, path, what, begun)

    def _describe(self, kind: str, path: str, what: str, begun: float) -> None:
        if len(self.losses) < KEEP_LOSSES:
            at, took = monotonic() - self.started, monotonic() - begun
            self.losses.append(Loss(kind, round(at, 3), round(took * 1000, 1), path, what))


@dataclass(frozen=True)
class Around:
    """Hold what all the clients of a run share."""

    target: Target
    scenario: Scenario
    ledger: Ledger
    stopping: asyncio.Event
