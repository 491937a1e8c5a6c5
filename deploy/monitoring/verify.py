"""Inject faults, and measure how long it takes until people are notified of each; every fault is reverted."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import GateClosed, OpsError, Refused, nearest, refuse
from deploy.core.poll import poll, wait_until
from deploy.monitoring import alerts, check, heartbeat, stack
from deploy.monitoring.faults import NOBODY, P95, Fault, Place, faults_of
from deploy.monitoring.run import runs_of
from deploy.site import notify
from deploy.site.checks import Check, Result, require_open
from deploy.site.locked import locked

RECOVERY = 180.0  # seconds until a service is well again and its alerts are over
RESOLVED = 330.0  # and until what counts the last five minutes is
PAUSE = 0.5  # seconds between two looks at what was sent


@dataclass(frozen=True)
class Timing:
    """How long a fault's notification took, in seconds; none where it never came, with the reason."""

    fault: str
    host: str
    alert: str
    severity: str
    limit: float
    seconds: float | None
    why: str = ""

    @property
    def result(self) -> Result:
        """PASS within its limit, FAIL above it or where it never came, UNKNOWN where it was not tried."""
        if self.seconds is None:
            return "UNKNOWN" if self.why else "FAIL"
        return "PASS" if self.seconds <= self.limit else "FAIL"

    @property
    def evidence(self) -> str:
        """What people read of it."""
        late = self.why or f"nothing within {self.limit:.0f} s"
        return late if self.seconds is None else f"{self.seconds:.1f} s of {self.limit:.0f}"

    @property
    def document(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "fault": self.fault, "host": self.host, "alert": self.alert, "severity": self.severity,
            "seconds": None if self.seconds is None else round(self.seconds, 1), "limit": self.limit,
            "result": self.result, "evidence": self.evidence,
        }  # fmt: skip


def verify(at: Environment, only: Sequence[str] = (), times: int = 1) -> list[Timing]:
    """Inject faults one after the other, those that are named or all, `times` times; return what each took.

    Raises Refused in prod and for a name that is no fault here, GateClosed where monitoring is not well before.
    """
    if at.settings.asks:
        what = "faults are not injected in prod: visitors would meet them"
        raise Refused(what, where=at.settings.env, then="inv monitor.verify --env=staging", slug="not-in-prod")
    if times < 1:
        raise Refused(
            "--times is less than 1", where="--times", then="inv monitor.verify --times=1", slug="wrong-usage"
        )
    with locked(at, "monitor.verify"):
        runs = runs_of(at)
        require_well(check.watching(at.settings, runs))
        urls, beats = notify.addresses(at.settings), heartbeat.addresses(at.settings, [one.host.name for one in runs])
        places = [
            Place(
                one,
                stack.stack_of(one, " ".join(urls), beats[one.host.name]),
                one.host.engine.containers(at.settings.name),
            )
            for one in runs
        ]
        faults = [(place, fault) for place in places for fault in faults_of(place)]
        require_there(only, [fault.name for _, fault in faults])
        chosen = [(place, fault) for place, fault in faults if not only or fault.name in only]
        return [tried(place, fault) for _ in range(times) for place, fault in chosen]


def require_well(checks: Sequence[Check]) -> None:
    """Raise GateClosed unless everything that notifications need is well."""
    unwell = [f"{one.asked} is {one.result}" for one in checks if one.closes]
    if unwell:
        what = f"monitoring is not well before any fault: {', '.join(unwell)}"
        raise GateClosed(what, then="inv monitor.check", slug="monitoring-unwell")


def require_there(only: Sequence[str], names: Sequence[str]) -> None:
    """Raise Refused for a name that is no fault here, and where there is none at all."""
    wrong = [f"{name}{nearest(name, names)}" for name in only if name not in names]
    then = f"one of {', '.join(dict.fromkeys(names))}"
    refuse("no such fault can be injected here:", wrong, where="--only", then=then, slug="wrong-usage")


def tried(place: Place, fault: Fault) -> Timing:
    """Inject a fault, wait for its notification, revert it, and wait until all is well again."""
    with console.step(f"{place.host.name}: {fault.name} -> {fault.alert}", within=fault.limit):
        seconds, why = None, f"{fault.alert} fires already"
        if wait_until(lambda: is_over(place, fault), RESOLVED, pause=2):
            seconds, why = measured(place, fault)
            recover(place)
    return Timing(fault.name, place.host.name, fault.alert, fault.severity, fault.limit, seconds, why)


def measured(place: Place, fault: Fault) -> tuple[float | None, str]:
    """Return the seconds from just before a fault is injected until its notification is sent, and why it was not tried.

    No seconds above its limit. Raises OpsError where it was not reverted.
    """
    last = alerts.last_line(place.host, place.watcher("receiver"))
    with reverted(place, fault):
        try:
            return notified(place, fault, last), ""
        except OpsError as error:
            return None, f"not injected: {error.what}"


def notified(place: Place, fault: Fault, last: str) -> float | None:
    """Inject a fault and wait for its notification, after the receiver's `last` line; None above its limit."""
    begun = time.monotonic()
    fault.inject()
    for _ in poll(fault.limit, pause=PAUSE):
        if any(names(one, fault) for one in alerts.sent(place.host, place.watcher("receiver"), last)):
            return time.monotonic() - begun
        fault.meanwhile()
    return None


def names(sent: alerts.Notification, fault: Fault) -> bool:
    """Tell whether a notification that somebody has taken is of a fault's alert. Pure."""
    alike = any((one.name, one.service) == (fault.alert, fault.service) for one in sent.alerts)
    return alike and sent.taken and not sent.resolved


@contextmanager
def reverted(place: Place, fault: Fault) -> Iterator[None]:
    """Revert a fault at the end, whatever happened, Ctrl-C included; raise OpsError where that fails."""
    try:
        yield
    finally:
        with uninterrupted():
            try:
                fault.revert()
            except (OpsError, OSError) as error:
                reason = error.what if isinstance(error, OpsError) else str(error)
                what = f"{fault.name} was not reverted: {reason}"
                raise OpsError(
                    what, where=place.host.name, then=f"by hand: {fault.by_hand}", slug="fault-not-reverted"
                ) from None


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Let neither Ctrl-C nor a request to end cut off what is done in here."""
    handlers = {one: signal.signal(one, signal.SIG_IGN) for one in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for one, handler in handlers.items():
            signal.signal(one, handler)


def is_over(place: Place, fault: Fault) -> bool:
    """Tell whether a fault's alert does not fire, and somebody watches."""
    notifications = [
        one for one in alerts.sent(place.host, place.watcher("receiver"), "") if NOBODY in {a.name for a in one.alerts}
    ]
    firing = alerts.firing(place.host, place.run.settings.monitor.alertmanager_port)
    if firing is None or not all(one.resolved for one in notifications[-1:]):
        return False
    return not any((one.name, one.service) == (fault.alert, fault.service) for one in firing)


def recover(place: Place) -> None:
    """Wait until what ran before runs and is well again, and no service's alert fires; raise OpsError when it stays."""
    if not wait_until(lambda: is_well(place), RECOVERY, pause=1):
        what = f"the site did not recover within {RECOVERY:.0f} s of a fault that was reverted"
        raise OpsError(what, where=place.host.name, then="inv status; inv monitor.check", slug="not-recovered")


def is_well(place: Place) -> bool:
    """Tell whether every container that was up before is, and nothing critical fires of any service."""
    before = {one.name for one in place.containers if one.up}
    now = {one.name for one in place.host.engine.containers(place.run.settings.name) if one.up}
    firing = alerts.firing(place.host, place.run.settings.monitor.alertmanager_port)
    return (
        before <= now and firing is not None and not any(one.service and one.severity == "critical" for one in firing)
    )


def p95(seconds: Sequence[float]) -> float:
    """Return the 95th percentile. Pure.

    By nearest rank: https://en.wikipedia.org/wiki/Percentile#The_nearest-rank_method
    """
    return sorted(seconds)[math.ceil(0.95 * len(seconds)) - 1]


@dataclass(frozen=True)
class Together:
    """What critical ones came to together, in seconds."""

    p95: float
    worst: float
    number: int

    @property
    def check(self) -> Check:
        """PASS where 95 of 100 came in time."""
        evidence = f"{self.p95:.1f} s of {P95:.0f}; worst {self.worst:.1f}, of {self.number}"
        return Check("critical, p95", "PASS" if self.p95 <= P95 else "FAIL", evidence)

    @property
    def document(self) -> dict[str, object]:
        """The same for programs."""
        seconds = {"p95": round(self.p95, 1), "worst": round(self.worst, 1), "limit": P95}
        return {**seconds, "number": self.number, "result": self.check.result}


def critical(timings: Sequence[Timing]) -> Together | None:
    """Take the critical ones together; None where none came. Pure."""
    seconds = [one.seconds for one in timings if one.severity == "critical" and one.seconds is not None]
    return Together(p95(seconds), max(seconds), len(seconds)) if seconds else None


def show(timings: Sequence[Timing], env: str, *, json: bool) -> None:
    """Show what each fault came to; raise GateClosed, exit 3, where one was late or never came."""
    summary = critical(timings)
    judged = [summary.check] if summary else []
    if json:
        shown = summary.document if summary else None
        console.document({"env": env, "faults": [one.document for one in timings], "critical": shown})
    else:
        rows = [[one.result, one.fault, one.alert, one.evidence, one.host] for one in timings]
        rows += [[one.result, one.asked, "", one.evidence, ""] for one in judged]
        console.table(["", "fault", "notification", "after", "host"], rows)
    require_open([*(Check(one.fault, one.result) for one in timings), *judged], documented=json)
