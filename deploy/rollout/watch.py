"""Judge a new release by what the edge's log says of it, against the minute before."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from deploy import console
from deploy.errors import CommandFailed, OpsError
from deploy.hosts.host import Host
from deploy.model import Release, ReleasedService
from deploy.rollout import steps
from deploy.settings import Rollout, Settings
from deploy.shell import docker

BASELINE_SECONDS = 60
PAUSE_SECONDS = 0.5
# fewer say nothing yet: with 20 requests one unlucky 5xx is just the limit of 5 %
ENOUGH = 20
LOW_TRAFFIC = 50
# the first answers of a process that has just started are slower than all others
WARM_UP_SECONDS = 2
# a release that hangs answers nothing, so that its log says nothing
HANGING_AFTER, HANGING_SHARE = 6, 0.1
SLOWER_FACTOR, SLOWER_SECONDS = 3, 0.5
PROBES_IN_A_ROW = 3
PROBE_SECONDS = 2
TASKS_SECONDS = 3


@dataclass(frozen=True)
class Request:
    """One line of the edge's access log that an application answered; `at` in epoch seconds, `seconds` without the client's part."""

    at: float
    release: str
    status: int
    seconds: float
    address: str = ""


@dataclass(frozen=True)
class Traffic:
    """What some requests came to: their number, the share of 5xx, the 95th percentile of seconds."""

    requests: int
    errors: float
    p95: float


def parse(line: str) -> Request | None:
    """Read one line; None for one that is no request to an application, or a WebSocket's, which lasts as long as it likes."""
    try:
        known: Any = json.loads(line)
        upstream = known["upstream_seconds"].split(",")[-1].strip()
        if not known["upstream"] or known["status"] == 101:
            return None
        seconds = float(upstream) if upstream not in ("", "-") else known["seconds"]
        at, address = datetime.fromisoformat(known["time"]).timestamp(), known["upstream"].rpartition(":")[0]
        return Request(at, known["release"], int(known["status"]), seconds, address)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def sum_up(requests: Iterable[Request]) -> Traffic:
    """Count requests."""
    seen = list(requests)
    if len(seen) < 2:
        return Traffic(len(seen), 0.0, 0.0)
    p95 = statistics.quantiles((r.seconds for r in seen), n=20)[-1]
    return Traffic(len(seen), sum(r.status >= 500 for r in seen) / len(seen), p95)


def judge(now: Traffic, before: Traffic, elapsed: float, limits: Rollout, share: float = 1) -> str:
    """Say why a release must go, after `elapsed` seconds of watching its `share` of the traffic; empty if nothing says so. Pure."""
    known = before.requests >= ENOUGH
    if now.requests >= ENOUGH and now.errors > limits.watch_errors + (before.errors if known else 0):
        return f"{now.errors:.0%} of {now.requests} requests were answered with 5xx" + (f"; before, {before.errors:.0%}" if known else "")
    slow = max(before.p95 * SLOWER_FACTOR, before.p95 + SLOWER_SECONDS) if known else limits.watch_p95
    if now.requests >= ENOUGH and elapsed > WARM_UP_SECONDS and now.p95 > slow:
        return f"the 95th percentile of {now.requests} requests is {now.p95:.2f} s" + (f"; before, {before.p95:.2f} s" if known else "")
    expected = before.requests / BASELINE_SECONDS * elapsed * share
    if elapsed >= HANGING_AFTER and expected >= LOW_TRAFFIC and now.requests < expected * HANGING_SHARE:
        return f"only {now.requests} requests were answered; by the minute before it would be {expected:.0f}"
    return ""


class EdgeLog:
    """The requests that the edge has written down since a while ago, read on from where the last reading ended."""

    def __init__(self, host: Host, edge: str) -> None:
        self.host, self.edge = host, edge
        self.since = f"{BASELINE_SECONDS + PAUSE_SECONDS:.0f}s"
        self.last = ""
        self.requests: list[Request] = []

    def read(self) -> None:
        """Read what has come since; on a host without an edge nothing does."""
        if not self.edge:
            return
        for line in self.host.run(docker("logs", "--timestamps", "--since", self.since, self.edge)).splitlines():
            stamp, _, text = line.partition(" ")
            if stamp <= self.last:
                continue
            self.since = self.last = stamp
            request = parse(text)
            if request:
                self.requests.append(request)


class Watch:
    """One release under real traffic, and probed besides, for a site may have none; `beside` it the old one may still answer."""

    def __init__(self, settings: Settings, host: Host, edge: str, step: steps.Watch, release: Release) -> None:
        self.settings, self.host, self.colour, self.beside, self.release = settings, host, step.colour, step.beside, release
        self.log = EdgeLog(host, edge)
        self.answered = self.refused = 0  # probes in all, and in a row
        self.asked = 0.0  # when the workers were asked last, in seconds of watching

    def run(self) -> None:
        """Watch until the time is over; raise OpsError as soon as the release does worse than is allowed."""
        limits, began, seen = self.settings.rollout, time.monotonic(), Traffic(0, 0, 0)
        self.log.read()
        web = [c for c in self.host.engine.containers(self.settings.name) if c.role == "web"]
        others = {address for c in web if c.name in self.beside for address in c.addresses}
        share = 1 - len(self.beside) / max(len(self.beside) + sum(c.colour == self.colour for c in web), 1)

        def mine(request: Request) -> bool:
            return request.release == self.release.id and request.address not in others

        before, known = sum_up(request for request in self.log.requests if not mine(request)), len(self.log.requests)
        while (elapsed := time.monotonic() - began) < limits.watch:
            self.probe()
            self.log.read()
            seen = sum_up(request for request in self.log.requests[known:] if mine(request))
            reason = judge(seen, before, elapsed, limits, share) or self.unanswered() or self.failed_tasks(elapsed)
            if reason:
                raise OpsError(
                    f"release {self.release.id} was in service for {elapsed:.0f} s and did worse than is allowed: {reason}",
                    where=f"{self.host.name}, the edge's log",
                    then="inv logs, mend it, inv deploy",
                )
            time.sleep(PAUSE_SECONDS)
        if self.log.edge and seen.requests < LOW_TRAFFIC:
            console.say(f"     low traffic: {seen.requests} requests in {limits.watch:.0f} s; {self.answered} probes were answered")

    def probe(self) -> None:
        """Ask each web service for its health through the edge."""
        for service in self.release.of("web") if self.log.edge else ():
            path = f"/{self.colour}/{service.name}{service.deploy.health}"
            well = self.host.get(self.settings.edge.probe_port, path, timeout=PROBE_SECONDS)[0] == 200
            self.answered += well
            self.refused = 0 if well else self.refused + 1

    def unanswered(self) -> str:
        """Say that probes were refused several times in a row."""
        return f"{self.refused} probes in a row were not answered with 200" if self.refused >= PROBES_IN_A_ROW else ""

    def failed_tasks(self, elapsed: float) -> str:
        """Say that more of the release's tasks have failed than are allowed; asked every few seconds, for it starts a program."""
        if elapsed < self.asked + TASKS_SECONDS:
            return ""
        self.asked, limit = elapsed, self.settings.rollout.watch_failed_tasks
        counts = {service.name: self.count(service) for service in self.release.of("worker") if service.deploy.failed}
        return "; ".join(f"{count} tasks of {name} have failed" for name, count in counts.items() if count > limit)

    def count(self, service: ReleasedService) -> int:
        """Ask a worker how many of its release's tasks have failed; 0 when it cannot say."""
        for container in self.host.engine.containers(self.settings.name):
            if (container.service, container.colour, container.state) == (service.name, self.colour, "running"):
                try:
                    return int(self.host.run(docker("exec", container.name, *service.deploy.failed), timeout=10))
                except (CommandFailed, ValueError):  # what it printed may hold secrets
                    asked = docker("exec", container.name, *service.deploy.failed)
                    console.warn(f"{service.name} cannot say how many tasks failed; why: {self.host.typed(str(asked))}")
        return 0
