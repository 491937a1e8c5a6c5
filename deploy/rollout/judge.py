"""What the edge's log says of a release, against the minute before. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from deploy.config.sections import Rollout
from deploy.rollout.edge_log import BASELINE_SECONDS, Request

# fewer say nothing yet: with 20 requests one unlucky 5xx is just the limit of 5 %
ENOUGH = 20
# the first answers of a process that has just started are slower than all others
WARM_UP_SECONDS = 2
# a release that hangs answers nothing, so that its log says nothing, and neither does that of one whom nobody asks
# (asking costs little, so that it is done early, and also where just some of what visitors ask for hangs)
HANGING_AFTER, HANGING_SHARE = 2, 0.5
# what is asked then was quick, and more than once
QUICK_SECONDS, QUICK_TIMES = 0.5, 3
SLOWER_FACTOR, SLOWER_SECONDS = 3, 0.5


@dataclass(frozen=True)
class Traffic:
    """What some requests came to: their number, the share of 5xx, the 95th percentile of seconds."""

    requests: int = 0
    errors: float = 0
    p95: float = 0


@dataclass(frozen=True)
class Answers:
    """What apps answered, and what the edge answered by itself: never added up, for a change of the mix is no fault."""

    app: Traffic = Traffic()
    edge: Traffic = Traffic()


@dataclass(frozen=True)
class Quick:
    """A path that visitors asked for in the minute before: how often, and how fast it was answered, in seconds."""

    path: str
    times: int
    seconds: float


def sum_up(requests: Iterable[Request]) -> Traffic:
    """Count requests."""
    counted = list(requests)
    if len(counted) < 2:
        return Traffic(len(counted))
    p95 = statistics.quantiles((r.seconds for r in counted), n=20)[-1]
    return Traffic(len(counted), sum(r.status >= 500 for r in counted) / len(counted), p95)


def sort_out(requests: Iterable[Request]) -> Answers:
    """Count requests by who answered them."""
    counted = list(requests)
    return Answers(sum_up(r for r in counted if r.app), sum_up(r for r in counted if not r.app))


def judge(now: Answers, before: Answers, elapsed: float, limits: Rollout) -> str:
    """Say why a release must go, after `elapsed` seconds of watching it; empty if nothing says so."""
    return (
        erring(now.app, before.app, limits, "an app answered")
        or erring(now.edge, before.edge, limits, "the edge answered itself")
        or slow(now.app, before.app, elapsed, limits)
    )


def erring(now: Traffic, before: Traffic, limits: Rollout, whose: str) -> str:
    """Say that too many requests were answered with 5xx."""
    comparable = before.requests >= ENOUGH
    if now.requests < ENOUGH or now.errors <= limits.watch_errors + (before.errors if comparable else 0):
        return ""
    earlier = f"; before, {before.errors:.0%}" if comparable else ""
    return f"{now.errors:.0%} of {now.requests} requests that {whose} were 5xx{earlier}"


def slow(now: Traffic, before: Traffic, elapsed: float, limits: Rollout) -> str:
    """Say that an app answers too slowly; of the edge's own answers the time says how fast the client was."""
    comparable = before.requests >= ENOUGH
    limit = max(before.p95 * SLOWER_FACTOR, before.p95 + SLOWER_SECONDS) if comparable else limits.watch_p95
    if now.requests < ENOUGH or elapsed <= WARM_UP_SECONDS or now.p95 <= limit:
        return ""
    earlier = f"; before, {before.p95:.2f} s" if comparable else ""
    return f"the 95th percentile of {now.requests} requests is {now.p95:.2f} s{earlier}"


def quiet(now: Traffic, before: Traffic, elapsed: float, share: float) -> bool:
    """Tell whether far fewer requests than expected were answered: no visitors, or a release that hangs."""
    expected = before.requests / BASELINE_SECONDS * elapsed * share
    return elapsed >= HANGING_AFTER and now.requests < expected * HANGING_SHARE


def quickest(requests: Iterable[Request]) -> Quick | None:
    """Return the path that was asked for most among those that an app answered with 200, and quickly; or None."""
    asked = defaultdict[str, list[Request]](list)
    for request in requests:
        if request.app and request.path and request.status == 200:
            asked[request.path].append(request)
    sums = {path: sum_up(own) for path, own in asked.items()}
    paths = [Quick(path, traffic.requests, traffic.p95) for path, traffic in sums.items()]
    able = [quick for quick in paths if quick.times >= QUICK_TIMES and quick.seconds <= QUICK_SECONDS]
    return max(able, key=lambda quick: quick.times, default=None)
