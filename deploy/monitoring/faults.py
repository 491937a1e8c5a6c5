"""The faults that `inv monitor.verify` injects: what injects each, what reverts it, which alert must come, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from deploy.core.facts import Container
from deploy.core.shell import Command, command, compose, docker
from deploy.hosts.host import Host
from deploy.monitoring import inject, stack
from deploy.monitoring.stack import Stack
from deploy.site.run import Run

Severity = Literal["critical", "warning", "blind"]
# seconds from a fault to its notification, for each of them; `blind` is that nobody watches any more
LIMITS: Mapping[Severity, float] = {"critical": 45, "warning": 300, "blind": 120}
P95 = 30.0  # seconds within which 95 of 100 critical ones must come
NOBODY = "NobodyWatches"  # what the receiver calls it in its log
STOP_WITHIN = 5  # seconds that a service gets to end
Act = Callable[[], object]


def nothing() -> None:
    """Do nothing: most faults are there at once."""


@dataclass(frozen=True)
class Fault:
    """One fault; `meanwhile` is done again and again until its notification is there.

    `by_hand` is what a person types where the toolkit could not revert it.
    """

    name: str
    alert: str
    service: str
    severity: Severity
    inject: Act
    revert: Act
    by_hand: str
    meanwhile: Act = nothing

    @property
    def limit(self) -> float:
        """How many seconds its notification may take."""
        return LIMITS[self.severity]


@dataclass(frozen=True)
class Place:
    """Where faults are injected: a host, what runs there, and what watches it."""

    run: Run
    stack: Stack
    containers: tuple[Container, ...]

    @property
    def host(self) -> Host:
        """The host."""
        return self.run.host

    def of(self, *roles: str) -> Mapping[str, tuple[str, ...]]:
        """Return the names of containers that run, by service, of some roles."""
        own = [one for one in self.containers if one.role in roles and one.state == "running"]
        services = dict.fromkeys(one.service for one in own)
        return {service: tuple(one.name for one in own if one.service == service) for service in services}

    def watcher(self, name: str) -> str:
        """Name a container of the monitoring stack."""
        return f"{self.stack.project}-{name}-1"

    def by_commands(self, name: str, alert: Sequence[str], fault: Command, back: Command) -> Fault:
        """Make a fault of two commands; `alert` is its name, service and, unless it is critical, severity."""
        title, service, severity = (*alert, "critical")[:3]
        act, revert = (lambda: self.host.run(fault)), (lambda: self.host.run(back))
        return Fault(name, title, service, severity, act, revert, str(back))  # type: ignore[arg-type]  # one of three


def faults_of(place: Place) -> tuple[Fault, ...]:
    """List the faults that can be injected on a host, those that hurt the watching itself last."""
    kinds = (
        stopped, killed, hung, cut_off, filled, no_backup, expiring, looping, slow, refused, undelivered, unwatched
    )  # fmt: skip
    return tuple(fault for kind in kinds for fault in kind(place))


def stopped(place: Place) -> Iterator[Fault]:
    """Yield, for every service, that it is stopped."""
    for service, names in place.of("web", "worker", "scheduler", "data", "wal", "edge").items():
        stop, start = docker("stop", "--time", STOP_WITHIN, *names), docker("start", *names)
        yield place.by_commands(f"stop-{service}", ("ServiceDown", service), stop, start)


def killed(place: Place) -> Iterator[Fault]:
    """Yield, for every worker, that it is killed."""
    for service, names in place.of("worker").items():
        kill, start = docker("kill", *names), docker("start", *names)
        yield place.by_commands(f"kill-{service}", ("ServiceDown", service), kill, start)


def hung(place: Place) -> Iterator[Fault]:
    """Yield, for every Redis, that it hangs: its process is there, and answers nobody."""
    watched = {one.service for one in place.stack.exporters if one.image == "redis-exporter"}
    for service, names in place.of("data").items():
        if service in watched:
            hang, resume = (docker("kill", f"--signal={signal}", *names) for signal in ("STOP", "CONT"))
            yield place.by_commands(f"hang-{service}", ("RedisDown", service), hang, resume)


def cut_off(place: Place) -> Iterator[Fault]:
    """Yield that visitors get a burst of errors: web services run, and the edge does not reach them."""
    for edge in place.of("edge"):
        if links := inject.links(place.host, place.containers):
            yield Fault(
                "errors",
                "ErrorRatio",
                edge,
                "critical",
                inject=lambda: [place.host.run(link.disconnect) for link in links],
                revert=partial(inject.restore, place.host, links),
                by_hand="; ".join(str(link.connect) for link in links),
                meanwhile=lambda: inject.visit(place.run),
            )


def filled(place: Place) -> Iterator[Fault]:
    """Yield that a file system is full: the smallest one that is watched, where it is small."""
    if small := inject.smallest_disk(place.host, place.run.settings.monitor.prometheus_port):
        fill, empty = small.fill, command("rm", "--force", small.filler)
        yield place.by_commands("fill-disk", ("DiskFull", ""), fill, empty)


def no_backup(place: Place) -> Iterator[Fault]:
    """Yield that nightly backups have stopped."""
    if place.stack.backups:
        yield rewritten(place, "stop-backups", ("BackupOld", "warning"), "backup", inject.stale_backup)


def expiring(place: Place) -> Iterator[Fault]:
    """Yield that the certificate ends within hours, where the host renews it."""
    if place.stack.certificates:
        yield rewritten(
            place, "expire-certificate", ("CertificateOverdue", "critical"), "certificates", inject.ending_certificate
        )


def rewritten(place: Place, name: str, alert: tuple[str, Severity], file: str, text: Callable[[str], str]) -> Fault:
    """Make a fault of what the host writes down for the node exporter."""
    path = place.run.settings.state_dir / "metrics" / f"{file}.prom"
    before = place.host.read(path)

    def back() -> None:
        if before is None:
            place.host.remove(path)
        else:
            place.host.write(path, before)

    def act() -> None:
        place.host.write(path, text(place.run.settings.name))

    return Fault(name, alert[0], "", alert[1], act, back, f"rm {path}; what writes it writes it again")


def looping(place: Place) -> Iterator[Fault]:
    """Yield that a container ends again and again and is started again: one of a worker, else of a web service."""
    services = {**place.of("web"), **place.of("worker")}
    for service, names in list(services.items())[-1:]:
        crash = inject.Crash(place.host, names[0], place.watcher("collector"))
        restart = docker("restart", "--time", STOP_WITHIN, names[0])  # the engine counts from nothing then
        fault = place.by_commands(f"crash-{service}", ("RestartLoop", service), restart, restart)
        yield replace(fault, inject=crash.again, meanwhile=crash.again)


def slow(place: Place) -> Iterator[Fault]:
    """Yield that visitors wait: every web service is halted again and again, and answers late."""
    names = tuple(name for own in place.of("web").values() for name in own)
    for edge in place.of("edge") if names else ():
        name = f"{place.stack.project}-slow"
        halted = inject.Slow(place.host, names, place.watcher("collector"), name, LIMITS["warning"])
        by_hand = "; ".join(map(str, (halted.end, docker("restart", *names))))
        yield Fault(
            "slow-answers", "AnswersSlow", edge, "warning", halted.begin, halted.restore, by_hand,
            lambda: inject.visit(place.run, pause=0.3, timeout=5),
        )  # fmt: skip


def refused(place: Place) -> Iterator[Fault]:
    """Yield that one address of NOTIFY_URLS takes nothing while the others do, which then say so."""

    def addressed(urls: str) -> None:
        folder, path = place.run.settings.state_dir, f"{stack.PRIVATE}/receiver.env"
        place.host.write(folder / path, stack.private(replace(place.stack, urls=urls))[path], mode=0o600)
        words = ("up", "--detach", "--no-deps", "receiver")
        place.host.run(compose(place.stack.project, str(folder / stack.FILE), *words))

    def act() -> None:
        addressed(f"{place.stack.urls} {inject.REFUSES}")
        place.host.run(inject.trial(place.watcher("alertmanager")))  # nobody notices before something is sent

    yield Fault(
        "fail-address", "NotificationsFail", "", "warning", act, lambda: addressed(place.stack.urls), "inv monitor.up"
    )


def unwatched(place: Place) -> Iterator[Fault]:
    """Yield that Prometheus, and Alertmanager, are killed."""
    for name in ("prometheus", "alertmanager"):
        kill, start = docker("kill", place.watcher(name)), docker("start", place.watcher(name))
        yield place.by_commands(f"kill-{name}", (NOBODY, "", "blind"), kill, start)


def undelivered(place: Place) -> Iterator[Fault]:
    """Yield that nobody takes what Alertmanager sends, until it says so itself: then people are told afterwards."""
    receiver, port = place.watcher("receiver"), place.run.settings.monitor.alertmanager_port
    start = docker("start", receiver)
    yield Fault(
        "stop-receiver", "NotificationsFail", "", "warning", lambda: place.host.run(docker("kill", receiver)),
        lambda: place.host.run(start), str(start),
        lambda: inject.once_firing(place.host, port, "NotificationsFail", start),
    )  # fmt: skip
