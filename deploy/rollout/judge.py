"""Judge a release by what the edge's log says of it, compared with the minute before. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from deploy.config.sections import Rollout
from deploy.rollout.edge_log import BASELINE_SECONDS, Request

# fewer requests say nothing yet: with 20 one unlucky 5xx is just the limit of 5 %
ENOUGH = 20
# the first answers of a process that has just started are slower than all others
WARM_UP_SECONDS = 2
# A release that hangs answers nothing, so that the log has no line of it; neither has it of one without visitors.
# After so many seconds with less than this share of the usual answers it is asked by us. That costs little, so it is
# done early, and also where just some paths hang.
HANGING_AFTER, HANGING_SHARE = 2, 0.5
# it is asked for a path that was answered within this time, and more than once
USUAL_SECONDS, USUAL_TIMES = 0.5, 3
SLOWER_FACTOR, SLOWER_SECONDS = 3, 0.5


@dataclass(frozen=True)
class Traffic:
    """A count of some requests: their number, the share of 5xx (0 to 1), the 95th percentile in seconds."""

    requests: int = 0
    errors: float = 0
    p95: float = 0


@dataclass(frozen=True)
class Answers:
    """What apps answered, and what the edge answered by itself.

    They are never added up: a change of the mix is no fault.
    """

    app: Traffic = Traffic()
    edge: Traffic = Traffic()


@dataclass(frozen=True)
class UsualPath:
    """A path that visitors asked for in the minute before: how often, and the 95th percentile of its seconds."""

    path: str
    times: int
    seconds: float


def count(requests: Iterable[Request]) -> Traffic:
    """Count requests, errors and seconds."""
    counted = list(requests)
    if len(counted) < 2:
        return Traffic(len(counted))
    p95 = statistics.quantiles((r.seconds for r in counted), n=20)[-1]
    return Traffic(len(counted), sum(r.status >= 500 for r in counted) / len(counted), p95)


def count_by_responder(requests: Iterable[Request]) -> Answers:
    """Count requests by who answered them, an app or the edge."""
    counted = list(requests)
    return Answers(count(r for r in counted if r.app), count(r for r in counted if not r.app))


def judge(now: Answers, before: Answers, elapsed: float, limits: Rollout) -> str:
    """Return the reason to revert a release that has been watched for `elapsed` seconds; empty without one."""
    return (
        too_many_errors(now.app, before.app, limits, "an app answered")
        or too_many_errors(now.edge, before.edge, limits, "the edge answered itself")
        or too_slow(now.app, before.app, elapsed, limits)
    )


def too_many_errors(now: Traffic, before: Traffic, limits: Rollout, whose: str) -> str:
    """Say that too many requests were answered with 5xx; empty where they were not."""
    comparable = before.requests >= ENOUGH
    if now.requests < ENOUGH or now.errors <= limits.watch_errors + (before.errors if comparable else 0):
        return ""
    earlier = f"; before, {before.errors:.0%}" if comparable else ""
    return f"{now.errors:.0%} of {now.requests} requests that {whose} were 5xx{earlier}"


def too_slow(now: Traffic, before: Traffic, elapsed: float, limits: Rollout) -> str:
    """Say that an app answers too slowly; empty where it does not.

    The edge's own answers are not judged so: their time is the client's.
    """
    comparable = before.requests >= ENOUGH
    limit = max(before.p95 * SLOWER_FACTOR, before.p95 + SLOWER_SECONDS) if comparable else limits.watch_p95
    if now.requests < ENOUGH or elapsed <= WARM_UP_SECONDS or now.p95 <= limit:
        return ""
    earlier = f"; before, {before.p95:.2f} s" if comparable else ""
    return f"the 95th percentile of {now.requests} requests is {now.p95:.2f} s{earlier}"


def too_few_answers(now: Traffic, before: Traffic, elapsed: float, share: float) -> bool:
    """Tell whether far fewer requests than usual were answered: there are no visitors, or the release hangs.

    `share` is the part of all requests that the release gets, 0 to 1.
    """
    expected = before.requests / BASELINE_SECONDS * elapsed * share
    return elapsed >= HANGING_AFTER and now.requests < expected * HANGING_SHARE


def usual_path(requests: Iterable[Request]) -> UsualPath | None:
    """Return the path that was asked for most among those that an app answered quickly with 200; None without any."""
    asked = defaultdict[str, list[Request]](list)
    for request in requests:
        if request.app and request.path and request.status == 200:
            asked[request.path].append(request)
    traffic = {path: count(own) for path, own in asked.items()}
    paths = [UsualPath(path, own.requests, own.p95) for path, own in traffic.items()]
    quick = [path for path in paths if path.times >= USUAL_TIMES and path.seconds <= USUAL_SECONDS]
    return max(quick, key=lambda path: path.times, default=None)
