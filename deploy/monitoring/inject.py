"""How faults are injected that take more than a command: cut links, slow answers, full disks, old metrics, crashes."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from deploy.core.facts import Container
from deploy.core.poll import poll
from deploy.core.shell import Command, command, docker, query
from deploy.edge import frame
from deploy.hosts.host import Host
from deploy.monitoring import alerts
from deploy.monitoring.check import ask
from deploy.monitoring.images import FOLDER
from deploy.site.run import Run

PATHS = ("/", "/api/health")  # one of them is answered by the app, not by a file of the edge
VISIT = 2.0  # seconds of requests at a time
HALTED, RUNS = 1.5, 1.0  # seconds: AnswersSlow is above one, and health checks get an answer in time
HALT = FOLDER / "programs/halt.py"
SMALL = 1 << 30  # bytes: no larger file system is filled
LEFT = 0.02  # of it stay free: DiskFull is below 0.03
BLOCK = 1 << 16
CRASHES = 4  # RestartLoop is from three on
DAY = 86400
RIGHTS = ("--pid=host", "--network=none", "--user=0:0", "--cap-drop=ALL", "--cap-add=KILL")  # to signal processes
REFUSES = "json://127.0.0.1:9/"  # an address at which nothing listens


@dataclass(frozen=True)
class Link:
    """A container on a network that it shares with the edge, and its names there."""

    network: str
    container: str
    aliases: tuple[str, ...]

    @property
    def disconnect(self) -> Command:
        """Cut the link."""
        return docker("network", "disconnect", self.network, self.container)

    @property
    def connect(self) -> Command:
        """Make it again, with the same names."""
        return docker("network", "connect", *(f"--alias={name}" for name in self.aliases), self.network, self.container)


def restore(host: Host, links: Sequence[Link]) -> None:
    """Make links again, those that are not there."""
    for link in links:
        if link.network not in joined(host, link.container):
            host.run(link.connect)


def joined(host: Host, container: str) -> dict[str, tuple[str, ...]]:
    """Return the networks that a container is on, and its names there."""
    asked = query("docker", "inspect", "--format={{json .NetworkSettings.Networks}}", container)
    return {name: tuple(own["Aliases"] or ()) for name, own in json.loads(host.run(asked)).items()}


def links(host: Host, containers: Sequence[Container]) -> tuple[Link, ...]:
    """List the links between the edge and web services that run."""
    running = [one for one in containers if one.state == "running"]
    edges = {network for one in running if one.role == "edge" for network in one.networks}
    web = [one for one in running if one.role == "web"]
    return tuple(
        Link(network, one.name, names)
        for one in web
        for network, names in joined(host, one.name).items()
        if network in edges
    )


def visit(run: Run, *, pause: float = 0.05, timeout: float = 1) -> None:
    """Ask for what visitors ask for, again and again for a while."""
    port, name = frame.asked_at(run.settings)
    for _ in poll(VISIT, pause=pause):
        for path in PATHS:
            run.host.get(port, path, host=name, timeout=timeout)


@dataclass(frozen=True)
class Slow:
    """Containers whose processes are halted again and again for a moment, so that every answer comes late.

    Who halts them lives on the host, for `seconds`, and lets them run at its end: no matter what becomes of this one.
    """

    host: Host
    containers: tuple[str, ...]
    helper: str  # a container of the monitoring stack, whose image has Python
    name: str  # of the container that halts
    seconds: float

    def begin(self) -> None:
        """Start to halt them."""
        self.host.try_run(self.end)
        self.host.run(self.halting(self.seconds, "--detach", f"--name={self.name}"))

    @property
    def end(self) -> Command:
        """No longer halt them; what halts lets them run before it ends."""
        return docker("stop", self.name)

    def restore(self) -> None:
        """End it, and let the containers run even if whatever halted them was killed."""
        self.host.try_run(self.end)
        self.host.run(self.halting(0))

    def halting(self, seconds: float, *options: str) -> Command:
        """Make the command that halts them for so many seconds: with none it only lets them run."""
        image, *ids = (
            self.host.run(query("docker", "inspect", f"--format={what}", name)).strip()
            for what, name in (("{{.Config.Image}}", self.helper), *(("{{.Id}}", one) for one in self.containers))
        )
        words = map(str, (seconds, HALTED, RUNS))
        return docker("run", "--rm", *options, *RIGHTS, image, "python", "-c", HALT.read_text(), *words, *ids)


@dataclass(frozen=True)
class Disk:
    """A small file system, and how many bytes of it are written to have it full."""

    place: str
    size: int

    @property
    def filler(self) -> str:
        """The file that fills it."""
        return f"{self.place.rstrip('/')}/.bookreader-ops-verify"

    @property
    def fill(self) -> Command:
        """Write the file."""
        return command(
            "dd", "if=/dev/zero", f"of={self.filler}", f"bs={BLOCK}", f"count={self.size // BLOCK}", "status=none"
        )


def smallest_disk(host: Host, port: int) -> Disk | None:
    """Choose the smallest file system that is watched and small enough to be filled; None where there is none."""
    expression = 'node_filesystem_avail_bytes{fstype!~"tmpfs|ramfs|squashfs|vfat",mountpoint!~"/boot.*"}'
    sizes = measured(host, port, expression.replace("avail", "size"))
    free = measured(host, port, expression)
    disks = [(size, place) for place, size in sizes.items() if size <= SMALL and place in free]
    return next((Disk(place, int(free[place] - LEFT * size)) for size, place in sorted(disks)), None)


def measured(host: Host, port: int, expression: str) -> dict[str, float]:
    """Ask Prometheus for a value of each file system, by where it is mounted."""
    from urllib.parse import quote

    answer = ask(host, port, f"/api/v1/query?query={quote(expression)}")
    return {one["metric"]["mountpoint"]: float(one["value"][1]) for one in (answer or {"result": ()})["result"]}


def stale_backup(name: str) -> str:
    """Write what a host notes of nightly backups, the last one thirty hours ago, as their timer does."""
    return gauges("backup_last", {"success_timestamp_seconds": time.time() - 30 * 3600, "exit_code": 0}, name)


def ending_certificate(name: str) -> str:
    """Write what a host notes of a certificate, one that ends in three hours, as its timer does."""
    now = time.time()
    values = {
        "not_before_timestamp_seconds": now - 90 * DAY,
        "not_after_timestamp_seconds": now + DAY / 8,
        "renewal_attempt_timestamp_seconds": now,
        "renewal_exit_code": 0,
    }
    return gauges("certificate", values, name)


def gauges(kind: str, values: dict[str, float], name: str) -> str:
    """Write gauges as the node exporter reads them. Pure."""
    rows = [(f"ops_{kind}_{word}", value) for word, value in values.items()]
    return "".join(f'# TYPE {word} gauge\n{word}{{app="{name}"}} {value:.0f}\n' for word, value in rows)


@dataclass(frozen=True)
class Crash:
    """A container whose first process is killed until the engine has started it again often enough."""

    host: Host
    container: str
    helper: str  # a container of the monitoring stack, whose image has Python

    @cached_property
    def counted(self) -> int:
        """How often the engine had started it again before."""
        there = self.host.engine.inspect(self.container)
        return there.restarts if there else 0

    def again(self) -> None:
        """Kill it, where it runs and has not been started again often enough."""
        there = self.host.engine.inspect(self.container)
        if there and there.state == "running" and there.restarts < self.counted + CRASHES:
            process = self.ask("{{.State.Pid}}", self.container)
            if process != "0":  # it has ended meanwhile
                self.host.try_run(kill(process, self.ask("{{.Config.Image}}", self.helper)))

    def ask(self, what: str, container: str) -> str:
        """Ask the engine for a word about a container."""
        return self.host.run(query("docker", "inspect", f"--format={what}", container)).strip()


def kill(process: str, image: str) -> Command:
    """Make the command that kills a process of the host, without the engine. Pure.

    What is killed by `docker kill` the engine does not start again: it takes that for a wish.
    """
    return docker("run", "--rm", *RIGHTS, image, "python", "-c", f"import os; os.kill({process}, 9)")


def once_firing(host: Host, port: int, name: str, act: Command) -> None:
    """Run a command once an alert fires."""
    if name in {one.name for one in alerts.firing(host, port) or ()}:
        host.run(act)


def trial(alertmanager: str) -> Command:
    """Make the command that has people sent a message that means nothing. Pure but for the time, by which it is new."""
    labels = ("alertname=NotificationTrial", "severity=none", f"time={time.time():.0f}")
    words = ("--annotation=summary=a trial of inv monitor.verify", "--annotation=meaning=nothing is wrong")
    tool = ("amtool", "--alertmanager.url=http://127.0.0.1:9093", "alert", "add")
    return docker("exec", alertmanager, *tool, *words, *labels)
