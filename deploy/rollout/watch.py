"""Watch a new release under real traffic, and probe it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import TypeVar
from urllib.parse import quote

from deploy.core import console
from deploy.core.errors import Interrupted, OpsError, Unreachable, acting
from deploy.core.facts import Container
from deploy.core.model import ReleasedService
from deploy.core.poll import poll
from deploy.core.shell import Command, docker
from deploy.edge import frame, nginx
from deploy.rollout.edge_log import EdgeLog, Request, remedy
from deploy.rollout.judge import ENOUGH, Answers, UsualPath, count_by_responder, judge, too_few_answers, usual_path
from deploy.site.run import Run

T = TypeVar("T")
PAUSE_SECONDS = 0.5
LOW_TRAFFIC = 50
PROBES_IN_A_ROW = 3
PROBE_SECONDS = 2
TASKS_SECONDS = 3


@dataclass(frozen=True)
class Baseline:
    """What the edge's log showed when the watch began.

    `lines` is how many requests it had, `answers` those of whatever served before, `usual` what visitors ask for most,
    and `share` the part of all requests that the release gets, 0 to 1.
    """

    lines: int
    answers: Answers
    usual: UsualPath | None
    share: float


class Watcher:
    """One release under real traffic, and probed: a site may have no traffic.

    `mixed` replicas of the old one may answer.
    """

    def __init__(self, run: Run, colour: str, mixed: Collection[str] = ()) -> None:
        self.run, self.settings, self.host, self.release = run, run.settings, run.host, run.release
        self.colour, self.mixed = colour, mixed
        self.log, self.edge = EdgeLog(run.host), ""
        self.readable = bool(run.release.of("edge"))
        self.paths = [f"/{colour}/{s.name}{s.deploy.health}" for s in run.release.of("web")] if self.readable else []
        self.old_addresses: set[str] = set()  # of the mixed replicas
        self.answered = self.refused = 0  # probes in all, and in a row
        self.unsent = 0  # probes in a row that could not be sent
        self.log_length = 0  # how long the log was once these were too many
        self.asked = 0.0  # when the workers were asked last, in seconds of watching
        self.troubles: dict[str, str] = {}  # what could not be done -> why

    def verdict(self) -> str:
        """Watch until the time is over; raise OpsError as soon as the release does worse than is allowed.

        Returns by what it was judged: nothing for the edge's log, "probed" where that could not be read, "unknown"
        where nothing could be judged and there is nothing to go back to. With the old one there, that is an OpsError
        too.
        """
        self.read()  # before the time begins: where it hangs, the probes have all of it
        web = [c for c in self.containers() if c.role == "web"]
        if self.mixed:
            self.tell_apart(web)
        baseline, now, began = self.take_baseline(web), Answers(), time.monotonic()
        for _ in poll(self.settings.rollout.watch, pause=PAUSE_SECONDS):
            elapsed = time.monotonic() - began
            self.probe()
            self.read()
            now = self.answers_since(baseline) if self.readable else now
            if reason := self.reason_to_revert(now, baseline, elapsed):
                raise OpsError(
                    f"release {self.release.id} was in service for {elapsed:.0f} s "
                    f"and did worse than is allowed: {reason}",
                    where=f"{self.host.name}, the edge",
                    then="inv logs; fix it, then inv deploy",
                    slug="watch-failed",
                )
        return self.conclude(now, reversible=self.is_reversible(web))

    def tell_apart(self, web: Collection[Container]) -> None:
        """Tell the release's answers from those of mixed replicas: by their addresses, and by probes of each replica.

        The old ones may not answer to the path by which this release is probed.
        """
        self.old_addresses = {address for c in web if c.name in self.mixed for address in c.addresses}
        services = {service.name: service for service in self.release.of("web")}
        own = [c for c in web if c.service in services and c.colour == self.colour and c.alive]
        if self.paths and own:
            self.paths = [nginx.replica_path(services[c.service], c.name) for c in own]

    def is_own(self, request: Request) -> bool:
        """Tell whether this release answered a request."""
        return request.release == self.release.id and request.address not in self.old_addresses

    def take_baseline(self, web: Collection[Container]) -> Baseline:
        """Count what others answered before the watch."""
        others = [request for request in self.log.requests if not self.is_own(request)]
        replicas = len(self.mixed) + sum(c.colour == self.colour for c in web)
        share = 1 - len(self.mixed) / max(replicas, 1)
        return Baseline(len(self.log.requests), count_by_responder(others), usual_path(others), share)

    def answers_since(self, baseline: Baseline) -> Answers:
        """Count what this release answered since the watch began."""
        return count_by_responder(request for request in self.log.requests[baseline.lines :] if self.is_own(request))

    def reason_to_revert(self, now: Answers, baseline: Baseline, elapsed: float) -> str:
        """Return why the release does worse than is allowed, by log, probes and tasks; empty where it does not."""
        reason = self.unanswered() or self.failed_tasks(elapsed)
        if not self.readable:
            return reason
        reason = judge(now, baseline.answers, elapsed, self.settings.rollout) or reason
        few = too_few_answers(now.app, baseline.answers.app, elapsed, baseline.share)
        return reason or (self.hangs(baseline.usual) if baseline.usual and few else "")

    def is_reversible(self, web: Collection[Container]) -> bool:
        """Tell whether there is something to go back to."""
        facts = self.run.facts
        behind_the_edge = bool(self.settings.fronts and facts.accepted)
        # where it served already, the frame alone is new, and the former one is gone back to
        only_frame = (facts.accepted, facts.edge.colour) == (self.release.id, self.colour)
        old_runs = any(c.colour != self.colour and c.state == "running" for c in web)
        return behind_the_edge or only_frame or old_runs

    def conclude(self, now: Answers, *, reversible: bool) -> str:
        """Return by what the release was judged in the end.

        Where by nothing, raise OpsError if it is `reversible`.
        """
        requests = now.app.requests + now.edge.requests
        # the edge has died, or hangs
        silent = self.unsent >= PROBES_IN_A_ROW and len(self.log.requests) == self.log_length
        enough = self.readable and max(now.app.requests, now.edge.requests) >= ENOUGH
        if not self.paths or ((enough or self.answered) and not silent):
            if self.readable and requests < LOW_TRAFFIC:
                watched = f"{requests} requests in {self.settings.rollout.watch:.0f} s"
                console.say(f"     low traffic: {watched}; {self.answered} probes were answered")
            return "" if self.readable or not self.paths else "probed"
        why = "; ".join(": ".join(filter(None, trouble)) for trouble in self.troubles.items())
        probes = f"no probe was answered{' at the end' if self.answered else ''}"
        reason = f"{requests} requests could be judged, and {probes}" + (f" ({why})" if why else "")
        if reversible:
            raise OpsError(
                f"release {self.release.id} was watched, and the verdict is UNKNOWN: {reason}",
                where=f"{self.host.name}, the edge",
                then=self.host.command_line(f"docker logs {self.edge or 'of the edge'}") + "; fix it, then inv deploy",
                slug="watch-unknown",
            )
        unknown = f"the verdict on release {self.release.id} is UNKNOWN: {reason}"
        console.warn(f"{unknown}; nothing else runs, so it stays in service")
        return "unknown"

    def attempt(
        self, what: str, act: Callable[[], T], otherwise: T, then: Callable[[], str], *, secret: bool = False
    ) -> T:
        """Do what may itself be broken: a failure is a warning once, and never the release's fault.

        With `secret` its output is not shown.
        """
        try:
            return act()
        except (Interrupted, Unreachable):
            raise
        except Exception as error:  # noqa: BLE001  # whatever it is, it says nothing of the release
            if what not in self.troubles:
                output = str(getattr(error, "output", "") or getattr(error, "what", "") or error).strip()
                output = output or type(error).__name__
                self.troubles[what] = "" if secret else self.run.masked(output.splitlines()[-1])
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
            what = "the edge's log cannot be read, and probes alone judge the release"
            self.readable = self.attempt(what, read, False, self.log_remedy)

    def log_remedy(self) -> str:
        """Say what makes the edge's log readable."""
        return remedy(self.host, self.edge) if self.edge else "inv status"

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
        """Tell whether a probe was answered with 200; raise OpsError when the edge itself does not answer either."""
        port = self.settings.edge.probe_port
        status, body = self.host.get(port, path, timeout=PROBE_SECONDS)
        if not (status or self.host.get(port, "/generation", timeout=PROBE_SECONDS)[0]):
            raise OpsError(f"the edge does not answer on port {port}: {body}", slug="edge-down")
        return status == 200

    def unanswered(self) -> str:
        """Say that probes were refused several times in a row."""
        return f"{self.refused} probes in a row were not answered with 200" if self.refused >= PROBES_IN_A_ROW else ""

    def hangs(self, usual: UsualPath) -> str:
        """Ask as visitors did, several times in a row; say that none was answered. A quick refusal proves nothing."""
        path, (port, name) = quote(usual.path), frame.asked_at(self.settings)

        def get() -> bool:
            began = time.monotonic()
            status, _ = self.host.get(port, path, host=name, timeout=PROBE_SECONDS)
            return not status and time.monotonic() - began >= PROBE_SECONDS * 0.9

        for _ in range(PROBES_IN_A_ROW):
            if not self.attempt("what visitors ask for cannot be asked for", get, False, lambda: "inv status"):
                return ""
        before = f"in the minute before {usual.times} were, in {usual.seconds:.2f} s"
        return f"GET {path} is not answered within {PROBE_SECONDS} s; {before}"

    def failed_tasks(self, elapsed: float) -> str:
        """Say that more of the release's tasks have failed than are allowed.

        Asked now and then: it starts a program.
        """
        if elapsed < self.asked + TASKS_SECONDS:
            return ""
        self.asked, limit = elapsed, self.settings.rollout.watch_failed_tasks
        counts = {service.name: self.count(service) for service in self.release.of("worker") if service.deploy.failed}
        return "; ".join(f"{count} tasks of {name} have failed" for name, count in counts.items() if count > limit)

    def count(self, service: ReleasedService) -> int:
        """Ask a worker how many of its release's tasks have failed; 0 when it cannot say."""
        for container in self.containers():
            if (container.service, container.colour, container.state) == (service.name, self.colour, "running"):
                asked = docker("exec", container.name, *service.deploy.failed).as_query()
                what, why = (
                    f"{service.name} cannot say how many tasks failed",
                    f"why: {self.host.command_line(str(asked))}",
                )
                counted = self.attempt(what, partial(self.run_count, asked), None, partial(str, why), secret=True)
                if counted is not None:
                    return counted
        return 0

    def run_count(self, asked: Command) -> int:
        """Run what prints a number."""
        return int(self.host.run(asked, timeout=10))
