"""What counts against a release while it is watched."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.errors import OpsError
from deploy.hosts.local import LocalHost
from deploy.rollout import steps
from deploy.rollout.watch import Request, Traffic, Watch, judge, parse, sum_up
from deploy.settings import Rollout
from deploy.shell import Command
from tests.samples import container, release, settings

LIMITS = Rollout()
NONE = Traffic(0, 0, 0)
BUSY = Traffic(6000, 0.0, 0.05)


@pytest.mark.parametrize(
    ("now", "before", "elapsed", "words"),
    [
        (Traffic(500, 0, 0.05), BUSY, 5, ""),
        (Traffic(20, 0.5, 0.05), BUSY, 0.5, "50% of 20 requests were answered with 5xx; before, 0%"),
        (Traffic(19, 1, 0.05), BUSY, 0.5, ""),
        (Traffic(100, 0.05, 0.05), NONE, 5, ""),
        (Traffic(100, 0.06, 0.05), NONE, 5, "6% of 100 requests were answered with 5xx"),
        (Traffic(100, 0.1, 0.05), Traffic(100, 0.08, 0.05), 5, ""),
        (Traffic(100, 0, 0.56), BUSY, 3, "the 95th percentile of 100 requests is 0.56 s; before, 0.05 s"),
        (Traffic(100, 0, 0.54), BUSY, 3, ""),
        (Traffic(100, 0, 5), BUSY, 1, ""),
        (Traffic(100, 0, 2.9), Traffic(100, 0, 1), 3, ""),
        (Traffic(100, 0, 3.1), Traffic(100, 0, 1), 3, "before, 1.00 s"),
        (Traffic(100, 0, 2.1), NONE, 3, "the 95th percentile of 100 requests is 2.10 s"),
        (Traffic(100, 0, 1.9), NONE, 3, ""),
        (Traffic(3, 0, 0), BUSY, 6, "only 3 requests were answered; by the minute before it would be 600"),
        (Traffic(3, 0, 0), BUSY, 5, ""),
        (Traffic(3, 0, 0), Traffic(60, 0, 0.1), 9, ""),
    ],
)  # fmt: skip
def test_judge(now: Traffic, before: Traffic, elapsed: float, words: str) -> None:
    said = judge(now, before, elapsed, LIMITS)
    assert words in said
    assert bool(said) == bool(words)


def line(**changed: Any) -> str:
    known = {
        "time": "2026-11-23T15:37:10+00:00", "colour": "green", "release": "r2", "method": "GET", "path": "/", "status": 200, "bytes": 5,
        "seconds": 6.1, "upstream_seconds": "0.127", "upstream": "172.23.0.4:8000",
    }  # fmt: skip
    return json.dumps({**known, **changed})


@pytest.mark.parametrize(
    ("text", "request_seen"),
    [
        (line(), Request(1795448230.0, "r2", 200, 0.127, "172.23.0.4")),
        (line(upstream_seconds="5.000, 0.200"), Request(1795448230.0, "r2", 200, 0.2, "172.23.0.4")),
        (line(status=504, upstream_seconds="-"), Request(1795448230.0, "r2", 504, 6.1, "172.23.0.4")),
        (line(upstream="", upstream_seconds=""), None),
        (line(status=101), None),
        ("2026/11/23 15:54:37 [error] 21#21: *33 no live upstreams", None),
        ("[1]", None),
        ("{}", None),
        (line(status="x"), None),
    ],
    ids=["a request", "tried twice", "no answer", "a file", "a WebSocket", "an error line", "a list", "nothing", "no number"],
)
def test_parse(text: str, request_seen: Request | None) -> None:
    assert parse(text) == request_seen


def test_sum_up() -> None:
    seen = [Request(0, "r", 500 if n == 0 else 200, n / 100) for n in range(100)]
    found = sum_up(seen)
    assert (found.requests, found.errors) == (100, 0.01)
    assert found.p95 == pytest.approx(0.95, abs=0.01)
    assert sum_up([]) == NONE


class Rolling(LocalHost):
    """A host on which an old replica errs beside a new one; its log comes in two readings."""

    def __init__(self, address: str) -> None:
        self.readings: list[list[str]] = [[], [line(release="r3", status=500, upstream=f"{address}:8000")] * 40]
        two = (container("backend", "green", "r3"), replace(container("backend", "blue", "r2"), addresses=("10.0.0.2",)))
        self.known: Any = SimpleNamespace(containers=lambda _: two)

    @property
    def engine(self) -> Any:
        """Two replicas."""
        return self.known

    def run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> str:
        """Give the next lines of the log."""
        new = self.readings.pop(0) if self.readings else []
        return "\n".join(f"2026-01-01T00:00:{number:02}.0Z {text}" for number, text in enumerate(new))

    def get(self, port: int, path: str, *, host: str = "localhost", timeout: float = 2) -> tuple[int, str]:
        """Be well."""
        return 200, ""


@pytest.mark.parametrize(("address", "judged"), [("10.0.0.2", False), ("10.0.0.3", True)], ids=["the old one", "the new one"])
def test_what_an_old_replica_answers_beside_a_new_one_is_not_counted(address: str, judged: bool) -> None:
    known = settings(rollout={"watch": 0.01})
    step = steps.Watch("green", "r3", (container("backend", "blue").name,))
    watch = Watch(known, Rolling(address), "edge", step, release("r3"))
    if judged:
        with pytest.raises(OpsError, match="100% of 40 requests"):
            watch.run()
    else:
        watch.run()
