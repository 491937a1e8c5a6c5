"""What counts against a release while it is watched."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.config.sections import Rollout
from deploy.core.errors import OpsError
from deploy.core.shell import Command
from deploy.hosts.local import LocalHost
from deploy.rollout.edge_log import EdgeLog, Request, parse
from deploy.rollout.judge import (
    Answers,
    Traffic,
    UsualPath,
    count,
    count_by_responder,
    judge,
    too_few_answers,
    usual_path,
)
from deploy.rollout.watch import Watcher
from deploy.site.run import Run
from deploy.state.store import Bundle
from tests.support.samples import container, log_line, release, settings

LIMITS = Rollout()
NONE = Traffic(0, 0, 0)
BUSY = Traffic(6000, 0.0, 0.05)


@pytest.mark.parametrize(
    ("now", "before", "elapsed", "words"),
    [
        (Traffic(500, 0, 0.05), BUSY, 5, ""),
        (Traffic(20, 0.5, 0.05), BUSY, 0.5, "50% of 20 requests that an app answered were 5xx; before, 0%"),
        (Traffic(19, 1, 0.05), BUSY, 0.5, ""),
        (Traffic(100, 0.05, 0.05), NONE, 5, ""),
        (Traffic(100, 0.06, 0.05), NONE, 5, "6% of 100 requests that an app answered were 5xx"),
        (Traffic(100, 0.1, 0.05), Traffic(100, 0.08, 0.05), 5, ""),
        (Traffic(100, 0, 0.56), BUSY, 3, "the 95th percentile of 100 requests is 0.56 s; before, 0.05 s"),
        (Traffic(100, 0, 0.54), BUSY, 3, ""),
        (Traffic(100, 0, 5), BUSY, 1, ""),
        (Traffic(100, 0, 2.9), Traffic(100, 0, 1), 3, ""),
        (Traffic(100, 0, 3.1), Traffic(100, 0, 1), 3, "before, 1.00 s"),
        (Traffic(100, 0, 2.1), NONE, 3, "the 95th percentile of 100 requests is 2.10 s"),
        (Traffic(100, 0, 1.9), NONE, 3, ""),
        (NONE, BUSY, 9, ""),
        (Traffic(3, 0, 0), BUSY, 9, ""),
    ],
)  # fmt: skip
def test_judge(now: Traffic, before: Traffic, elapsed: float, words: str) -> None:
    """Fewer requests alone are no reason."""
    reason = judge(Answers(now), Answers(before), elapsed, LIMITS)
    assert words in reason
    assert bool(reason) == bool(words)


@pytest.mark.parametrize(
    ("now", "before", "words"),
    [
        (Answers(NONE, Traffic(4781, 0.78)), Answers(BUSY, BUSY),
         "78% of 4781 requests that the edge answered itself were 5xx; before"),
        (Answers(NONE, Traffic(19, 1)), Answers(), ""),
        (Answers(NONE, Traffic(100, 0.1)), Answers(BUSY, Traffic(100, 0.08)), ""),
        (Answers(NONE, Traffic(100, 0, 60)), Answers(BUSY, BUSY), ""),
        (Answers(Traffic(100, 0.06), Traffic(9000, 0)), Answers(), "6% of 100 requests that an app answered were 5xx"),
        (Answers(Traffic(9000, 0), Traffic(100, 0.06)), Answers(),
         "6% of 100 requests that the edge answered itself were 5xx"),
        (Answers(Traffic(1000, 0.08), NONE), Answers(Traffic(100, 0.08), Traffic(9000, 0)), ""),
        (Answers(Traffic(100, 0.06), NONE), Answers(NONE, Traffic(100, 0.5)),
         "6% of 100 requests that an app answered were 5xx"),
    ],
    ids=["a wrong root", "too few", "as before", "a slow client", "files beside", "apps beside", "another mix",
         "another's minute before"],
)  # fmt: skip
def test_what_the_edge_answers_itself_is_judged_apart(now: Answers, before: Answers, words: str) -> None:
    reason = judge(now, before, 9, LIMITS)
    assert words in reason
    assert bool(reason) == bool(words)


@pytest.mark.parametrize(
    ("now", "elapsed", "share", "asked"),
    [
        (0, 3, 1, True),
        (149, 3, 1, True),
        (150, 3, 1, False),
        (0, 1.9, 1, False),
        (74, 3, 0.5, True),
        (76, 3, 0.5, False),
    ],
)
def test_far_fewer_answers_than_before_are_a_reason_to_ask(now: int, elapsed: float, share: float, asked: bool) -> None:
    assert too_few_answers(Traffic(now), Traffic(6000), elapsed, share) is asked


def asked(path: str, times: int, seconds: float = 0.05, **more: Any) -> list[Request]:
    return [replace(Request(0, "r", 200, seconds, "a", True, path), **more)] * times


def test_the_toolkit_asks_for_what_was_asked_for_most_and_answered_well_at_once() -> None:
    others = [
        *asked("/slow", 90, 1.5), *asked("", 90), *asked("/gone", 90, status=404), *asked("/file.js", 90, app=False),
        *asked("/twice", 2), *asked("/b", 4),
    ]  # fmt: skip
    assert usual_path([*others, *asked("/a b", 5)]) == UsualPath("/a b", 5, 0.05)
    assert usual_path(asked("/slow", 90, 1.5)) is None
    assert usual_path([]) is None


APP = Request(1795448230.0, "r2", 200, 0.127, "172.23.0.4", True, "/")
EDGE = replace(APP, status=500, seconds=6.1, address="", app=False)


@pytest.mark.parametrize(
    ("text", "request_seen"),
    [
        (log_line(), APP),
        (log_line(page=""), APP),
        (log_line(upstream="10.0.0.1:80, 172.23.0.4:8000", upstream_seconds="5.000, 0.200"), replace(APP, seconds=0.2)),
        (log_line(upstream="10.0.0.1:80 : 172.23.0.4:8000", upstream_seconds="5.000 : 0.200"),
         replace(APP, seconds=0.2)),
        (log_line(status=504, upstream_seconds="-"), replace(APP, status=504, seconds=6.1)),
        (log_line(status=502, upstream="app_green", upstream_seconds="0.000"),
         replace(APP, status=502, seconds=0, address="")),
        (log_line(method="POST"), replace(APP, path="")),
        (log_line(upstream="", upstream_seconds="", status=500), EDGE),
        (log_line(upstream="", upstream_seconds="", status=503, page="maintenance"), None),
        (log_line(upstream="", upstream_seconds="", status=503, page="no release"), None),
        (log_line(status=101), None),
        ("2026/11/23 15:54:37 [error] 21#21: *33 no live upstreams", None),
        ("[1]", None),
        ("{}", None),
        (log_line(status="x"), None),
    ],
    ids=[
        "an edge of before", "a request", "tried twice", "sent on", "no answer", "no replica", "a POST",
        "the edge's own",
        "maintenance", "before a release", "a WebSocket", "an error line", "a list", "nothing", "no number",
    ],
)  # fmt: skip
def test_parse(text: str, request_seen: Request | None) -> None:
    assert parse(text) == request_seen


def test_a_path_whose_bytes_are_no_text_is_a_request_too() -> None:
    seen = parse(log_line(path="/caf@", status=500).replace("@", "\\xe9"))
    assert seen
    assert seen.status == 500
    kept = parse(log_line(path="/a\\x41"))
    assert kept
    assert kept.path == "/a\\x41", "what stood there as text stays"


def test_requests_are_counted() -> None:
    seen = [Request(0, "r", 500 if n == 0 else 200, n / 100) for n in range(100)]
    found = count(seen)
    assert (found.requests, found.errors) == (100, 0.01)
    assert found.p95 == pytest.approx(0.95, abs=0.01)
    assert count([]) == NONE
    assert count_by_responder([*seen, replace(EDGE, status=200)]) == Answers(found, Traffic(1))


class Rolling(LocalHost):
    """A host on which an old replica errs beside a new one; its log comes in two readings."""

    def __init__(self, address: str) -> None:
        self.readings: list[list[str]] = [[], [log_line(release="r3", status=500, upstream=f"{address}:8000")] * 40]
        two = (
            container("backend", "green", "r3"),
            replace(container("backend", "blue", "r2"), addresses=("10.0.0.2",)),
        )
        self.observed: Any = SimpleNamespace(containers=lambda _: (*two, container("edge")))

    @property
    def engine(self) -> Any:
        """Two replicas."""
        return self.observed

    def run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> str:
        """Give the next lines of the log."""
        new = self.readings.pop(0) if self.readings else []
        return "\n".join(f"2026-01-01T00:00:{number:02}.0Z {text}" for number, text in enumerate(new))

    def get(self, port: int, path: str, *, host: str = "localhost", timeout: float = 2) -> tuple[int, str]:
        """Be well; of what is asked at the new path old replicas know nothing."""
        return (404, "") if path.startswith("/green/") else (200, "")


@pytest.mark.parametrize(
    ("address", "judged"), [("10.0.0.2", False), ("10.0.0.3", True)], ids=["the old one", "the new one"]
)
def test_what_an_old_replica_answers_beside_a_new_one_is_not_counted(address: str, judged: bool) -> None:
    run = Run(settings(rollout={"watch": 0.01}), Rolling(address), Bundle(release("r3"), {}, ""))
    watch = Watcher(run, "green", (container("backend", "blue").name,))
    if judged:
        with pytest.raises(OpsError, match="100% of 40 requests"):
            watch.verdict()
    else:
        assert watch.verdict() == ""


def test_no_path_that_a_visitor_asks_for_keeps_the_log_from_being_read_on() -> None:
    """Some characters end a line for Unicode; what follows is no time, and would be given to `docker logs` as one."""
    host = Rolling("")
    host.readings = [[log_line(path="/a"), log_line(path="/END").replace("END", "\u2028zzz\x85z")]]
    log = EdgeLog(host)
    log.read("edge")
    assert log.since == "2026-01-01T00:00:01.0Z"
    assert [request.path for request in log.requests] == ["/a", "/\u2028zzz\x85z"]
