"""Judge a new release by what the edge's log says of it, against the minute before."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from deploy.config.settings import Rollout
from deploy.core import console
from deploy.core.errors import Interrupted, OpsError, Unreachable, acting
from deploy.core.model import Container, ReleasedService
from deploy.core.shell import Command, docker
from deploy.core.wait import looks
from deploy.edge import nginx
from deploy.rollout.edge_log import BASELINE_SECONDS, EdgeLog, Request, remedy
from deploy.site.run import Run

T = TypeVar("T")
PAUSE_SECONDS = 0.5
# fewer say nothing yet: with 20 requests one unlucky 5xx is just the limit of 5 %
ENOUGH = 20
LOW_TRAFFIC = 50
# the first answers of a process that has just started are slower than all others
WARM_UP_SECONDS = 2
# a release that hangs answers nothing, so that its log says nothing, and neither does that of one whom nobody asks
# (asking costs little, so that it is done early, and also where just some of what visitors ask for hangs)
HANGING_AFTER, HANGING_SHARE = 2, 0.5
# what is asked then was quick, and more than once
QUICK_SECONDS, QUICK_TIMES = 0.5, 3
SLOWER_FACTOR, SLOWER_SECONDS = 3, 0.5
PROBES_IN_A_ROW = 3
PROBE_SECONDS = 2
TASKS_SECONDS = 3


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
    """A path that visitors asked for in the minute before and an app answered at once: how often, and in how many seconds."""

    path: str
    times: int
    seconds: float


def sum_up(requests: Iterable[Request]) -> Traffic:
    """Count requests."""
    seen = list(requests)
    if len(seen) < 2:
        return Traffic(len(seen))
    p95 = statistics.quantiles((r.seconds for r in seen), n=20)[-1]
    return Traffic(len(seen), sum(r.status >= 500 for r in seen) / len(seen), p95)


def sort_out(requests: Iterable[Request]) -> Answers:
    """Count requests by who answered them."""
    seen = list(requests)
    return Answers(sum_up(r for r in seen if r.app), sum_up(r for r in seen if not r.app))


def judge(now: Answers, before: Answers, elapsed: float, limits: Rollout) -> str:
    """Say why a release must go, after `elapsed` seconds of watching it; empty if nothing says so. Pure."""
    return (
        erring(now.app, before.app, limits, "an app answered")
        or erring(now.edge, before.edge, limits, "the edge answered itself")
        or slow(now.app, before.app, elapsed, limits)
    )


def erring(now: Traffic, before: Traffic, limits: Rollout, whose: str) -> str:
    """Say that too many requests were answered with 5xx."""
    known = before.requests >= ENOUGH
    if now.requests < ENOUGH or now.errors <= limits.watch_errors + (before.errors if known else 0):
        return ""
    return f"{now.errors:.0%} of {now.requests} requests that {whose} were 5xx" + (f"; before, {before.errors:.0%}" if known else "")


def slow(now: Traffic, before: Traffic, elapsed: float, limits: Rollout) -> str:
    """Say that an app answers too slowly; of the edge's own answers the time says how fast the client was."""
    known = before.requests >= ENOUGH
    limit = max(before.p95 * SLOWER_FACTOR, before.p95 + SLOWER_SECONDS) if known else limits.watch_p95
    if now.requests < ENOUGH or elapsed <= WARM_UP_SECONDS or now.p95 <= limit:
        return ""
    return f"the 95th percentile of {now.requests} requests is {now.p95:.2f} s" + (f"; before, {before.p95:.2f} s" if known else "")


def quiet(now: Traffic, before: Traffic, elapsed: float, share: float) -> bool:
    """Tell whether far fewer requests than expected were answered: nobody asks, or a release that gets its `share` hangs. Pure."""
    return elapsed >= HANGING_AFTER and now.requests < before.requests / BASELINE_SECONDS * elapsed * share * HANGING_SHARE


def quickest(requests: Iterable[Request]) -> Quick | None:
    """Return the path that was asked for most among those that an app answered with 200, and quickly; None when there is none. Pure."""
    asked = defaultdict[str, list[Request]](list)
    for request in requests:
        if request.app and request.path and request.status == 200:
            asked[request.path].append(request)
    found = [Quick(path, traffic.requests, traffic.p95) for path, own in asked.items() for traffic in [sum_up(own)]]
    able = [quick for quick in found if quick.times >= QUICK_TIMES and quick.seconds <= QUICK_SECONDS]
    return max(able, key=lambda quick: quick.times, default=None)


class Watcher:
    """One release under real traffic, and probed besides, for a site may have none; `mixed` replicas of the old one may still answer."""

    def __init__(self, run: Run, colour: str, mixed: Collection[str] = ()) -> None:
        self.run, self.settings, self.host, self.release = run, run.settings, run.host, run.release
        self.colour, self.mixed = colour, mixed
        self.log, self.edge = EdgeLog(run.host), ""
        self.readable = bool(run.release.of("edge"))
        self.paths = [f"/{colour}/{s.name}{s.deploy.health}" for s in run.release.of("web")] if self.readable else []
        self.answered = self.refused = 0  # probes in all, and in a row
        self.unsent = self.log_length = 0  # probes in a row that could not be sent, and how long the log was once these were too many
        self.asked = 0.0  # when the workers were asked last, in seconds of watching
        self.troubles: dict[str, str] = {}  # what could not be looked at -> why

    def verdict(self) -> str:
        """Watch until the time is over; raise OpsError as soon as the release does worse than is allowed.

        Returns by what it was judged: nothing for the edge's log, "probed" where that could not be read, "unknown" where nothing
        could be judged and there is nothing to go back to. With the old one there, that is an OpsError too.
        """
        limits, seen = self.settings.rollout, Answers()
        self.read()  # before the time begins: where it hangs, the probes have all of it
        web = [c for c in self.containers() if c.role == "web"]
        others = {address for c in web if c.name in self.mixed for address in c.addresses}
        if self.mixed and self.paths:  # the others may not answer to the path by which this release is asked
            own = [(s, c) for s in self.release.of("web") for c in web if (c.service, c.colour) == (s.name, self.colour) and c.alive]
            self.paths = [nginx.replica_path(s, c.name) for s, c in own] or self.paths
        share = 1 - len(self.mixed) / max(len(self.mixed) + sum(c.colour == self.colour for c in web), 1)

        def mine(request: Request) -> bool:
            return request.release == self.release.id and request.address not in others

        earlier, known = [request for request in self.log.requests if not mine(request)], len(self.log.requests)
        before, quick, began = sort_out(earlier), quickest(earlier), time.monotonic()
        for _ in looks(limits.watch, pause=PAUSE_SECONDS):
            elapsed = time.monotonic() - began
            self.probe()
            self.read()
            reason = self.unanswered() or self.failed_tasks(elapsed)
            if self.readable:
                seen = sort_out(request for request in self.log.requests[known:] if mine(request))
                reason = judge(seen, before, elapsed, limits) or reason
                reason = reason or (self.hangs(quick) if quick and quiet(seen.app, before.app, elapsed, share) else "")
            if reason:
                raise OpsError(
                    f"release {self.release.id} was in service for {elapsed:.0f} s and did worse than is allowed: {reason}",
                    where=f"{self.host.name}, the edge",
                    then="inv logs; fix it, then inv deploy",
                )
        elsewhere = bool(self.settings.fronts and self.run.facts.accepted)  # what this edge serves runs behind it
        return self.conclude(seen, elsewhere or any(c.colour != self.colour and c.state == "running" for c in web))

    def conclude(self, seen: Answers, old: bool) -> str:
        """Say by what the release was judged in the end; where by nothing, raise OpsError if the `old` one still runs."""
        requests = seen.app.requests + seen.edge.requests
        silent = self.unsent >= PROBES_IN_A_ROW and len(self.log.requests) == self.log_length  # the edge has died, or hangs
        enough = self.readable and max(seen.app.requests, seen.edge.requests) >= ENOUGH
        if not self.paths or ((enough or self.answered) and not silent):
            if self.readable and requests < LOW_TRAFFIC:
                watched = f"{requests} requests in {self.settings.rollout.watch:.0f} s"
                console.say(f"     low traffic: {watched}; {self.answered} probes were answered")
            return "" if self.readable or not self.paths else "probed"
        why = "; ".join(": ".join(filter(None, trouble)) for trouble in self.troubles.items())
        told = f"{requests} requests could be judged, and no probe was answered{' at the end' if self.answered else ''}"
        told += f" ({why})" if why else ""
        if old:
            raise OpsError(
                f"release {self.release.id} was watched, and the verdict is UNKNOWN: {told}",
                where=f"{self.host.name}, the edge",
                then=self.host.typed(f"docker logs {self.edge or 'of the edge'}") + "; fix it, then inv deploy",
            )
        console.warn(f"the verdict on release {self.release.id} is UNKNOWN: {told}; nothing else runs, so it stays in service")
        return "unknown"

    def attempt(self, what: str, act: Callable[[], T], otherwise: T, then: Callable[[], str], *, secret: bool = False) -> T:
        """Do what may itself be broken: a failure is a warning once, and never the release's fault.

        With `secret` nothing is shown of what it said.
        """
        try:
            return act()
        except (Interrupted, Unreachable):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it says nothing of the release
            if what not in self.troubles:
                said = str(getattr(error, "output", "") or getattr(error, "what", "") or error).strip() or type(error).__name__
                self.troubles[what] = "" if secret else self.run.masked(said.splitlines()[-1])
                words = ": ".join(filter(None, (what, self.troubles[what])))
                console.warn(acting(f"{self.host.name}: {words}; {then()}", self.settings.env))
            return otherwise

    def read(self) -> None:
        """Read on in the edge's log, on a host that has an edge; one that could not be read once is left alone."""

        def read() -> bool:
            self.edge = self.edge or self.run.edge
            self.log.read(self.edge)
            return True

        if self.readable:
            told = "the edge's log cannot be read, and probes alone judge the release"
            self.readable = self.attempt(told, read, False, lambda: remedy(self.host, self.edge) if self.edge else "inv status")

    def containers(self) -> tuple[Container, ...]:
        """List this environment's containers; where that fails, those that were there when the deploy was planned."""
        there = partial(self.host.engine.containers, self.settings.name)
        return self.attempt("containers cannot be listed", there, self.run.facts.containers, lambda: "inv doctor")

    def probe(self) -> None:
        """Ask each web service for its health through the edge; what could not be sent does not count."""
        for path in self.paths:
            well = self.attempt("probes cannot be sent", partial(self.ask, path), None, lambda: "inv status")
            self.unsent = self.unsent + 1 if well is None else 0
            self.log_length = self.log_length if self.unsent > PROBES_IN_A_ROW else len(self.log.requests)
            if well is not None:
                self.answered += well
                self.refused = 0 if well else self.refused + 1

    def ask(self, path: str) -> bool:
        """Tell whether a probe was answered with 200; raise OpsError when the edge does not answer for itself either."""
        port = self.settings.edge.probe_port
        status, said = self.host.get(port, path, timeout=PROBE_SECONDS)
        if not (status or self.host.get(port, "/generation", timeout=PROBE_SECONDS)[0]):
            raise OpsError(f"the edge does not answer on port {port}: {said}")
        return status == 200

    def unanswered(self) -> str:
        """Say that probes were refused several times in a row."""
        return f"{self.refused} probes in a row were not answered with 200" if self.refused >= PROBES_IN_A_ROW else ""

    def hangs(self, quick: Quick) -> str:
        """Ask as visitors did, several times in a row; say that none was answered. What comes back at once proves nothing."""
        path, domain = quote(quick.path), self.settings.domain

        def get() -> bool:
            began = time.monotonic()
            status, _ = self.host.get(self.settings.edge.port, path, host=domain, timeout=PROBE_SECONDS)
            return not status and time.monotonic() - began >= PROBE_SECONDS * 0.9

        for _ in range(PROBES_IN_A_ROW):
            if not self.attempt("what visitors ask for cannot be asked for", get, False, lambda: "inv status"):
                return ""
        return f"GET {path} is not answered within {PROBE_SECONDS} s; in the minute before {quick.times} were, in {quick.seconds:.2f} s"

    def failed_tasks(self, elapsed: float) -> str:
        """Say that more of the release's tasks have failed than are allowed; asked every few seconds, for it starts a program."""
        if elapsed < self.asked + TASKS_SECONDS:
            return ""
        self.asked, limit = elapsed, self.settings.rollout.watch_failed_tasks
        counts = {service.name: self.count(service) for service in self.release.of("worker") if service.deploy.failed}
        return "; ".join(f"{count} tasks of {name} have failed" for name, count in counts.items() if count > limit)

    def count(self, service: ReleasedService) -> int:
        """Ask a worker how many of its release's tasks have failed; 0 when it cannot say."""
        for container in self.containers():
            if (container.service, container.colour, container.state) == (service.name, self.colour, "running"):
                asked = docker("exec", container.name, *service.deploy.failed)
                told, why = f"{service.name} cannot say how many tasks failed", f"why: {self.host.typed(str(asked))}"
                counted = self.attempt(told, partial(self.run_count, asked), None, partial(str, why), secret=True)
                if counted is not None:
                    return counted
        return 0

    def run_count(self, asked: Command) -> int:
        """Run what prints a number."""
        return int(self.host.run(asked, timeout=10))
