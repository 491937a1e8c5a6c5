"""Steps that start, await, stop and remove the containers of a colour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploy.config.settings import Settings
from deploy.core.shell import docker
from deploy.rollout.health import await_healthy
from deploy.rollout.start import start_despite_stale_endpoints, start_stopped
from deploy.rollout.steps.step import Stage, Step
from deploy.site.run import Run


@dataclass(frozen=True)
class StartColour(Step):
    """Start services of the idle colour: all their replicas, or up to some number of each."""

    colour: str
    services: tuple[str, ...]
    upto: int = 0
    stage: ClassVar[Stage] = Stage.START

    def __str__(self) -> str:
        most = f", up to {self.upto} of each" if self.upto else ""
        return f"start {self.colour}: {', '.join(self.services)}{most}"

    def perform(self, run: Run) -> None:
        if run.bundle.release.reconstructed:
            start_despite_stale_endpoints(run, lambda: start_stopped(run, self.colour, self.services))
        else:
            start_despite_stale_endpoints(run, lambda: self.start_replicas(run))

    def start_replicas(self, run: Run) -> None:
        """Start stopped containers of the same release again, and create the others.

        Stopped ones beyond the desired number are removed: Compose would choose itself which to remove, also one that
        runs. So are those of services that this release does not have.
        """
        scale, restarted = list[str](), list[str]()
        existing = [c for c in run.host.engine.containers(run.settings.name) if c.colour == self.colour]
        names = {service.name for service in run.release.services}
        surplus = [c.name for c in existing if c.service not in names and not c.alive]
        for service in (s for s in run.release.services if s.name in self.services):
            own = [c for c in existing if c.service == service.name and c.release == run.release.id]
            alive, stopped = sum(c.alive for c in own), [c.name for c in own if not c.alive]
            number = max(run.replicas(service, self.upto), alive)
            restarted += stopped[: number - alive]
            surplus += stopped[number - alive :]
            scale.append(f"--scale={service.name}-{self.colour}={number}")
        if surplus:
            run.host.run(docker("rm", *surplus))
        services = [f"{service}-{self.colour}" for service in self.services]
        run.host.run(run.compose(self.colour, "up", "--detach", "--no-deps", "--no-build", *scale, *services))
        if restarted:  # the engine lists what stopped on a full disk as running, and Compose leaves that as it is
            run.host.run(docker("start", *restarted))


@dataclass(frozen=True)
class AwaitHealthy(Step):
    """Wait until the engine calls every container of a colour healthy."""

    colour: str
    services: tuple[str, ...]
    upto: int = 0
    stage: ClassVar[Stage] = Stage.START

    def __str__(self) -> str:
        return f"wait until {self.colour} is healthy"

    def limit(self, settings: Settings) -> float:
        return settings.rollout.healthy_within

    def perform(self, run: Run) -> None:
        await_healthy(run, self.colour, self.services, self.upto)


@dataclass(frozen=True)
class StopColour(Step):
    """Stop services of a colour within their grace periods, all but the containers to `keep`.

    They stay, so that going back starts them again.
    """

    colour: str
    services: tuple[str, ...]
    keep: tuple[str, ...] = ()
    stage: ClassVar[Stage] = Stage.RETIRE

    def __str__(self) -> str:
        kept = f" (but {len(self.keep)})" if self.keep else ""
        return f"stop {self.colour}: {', '.join(self.services)}{kept}"

    def perform(self, run: Run) -> None:
        names = [c.name for c in run.containers(self.colour, self.services) if c.alive and c.name not in self.keep]
        if names:
            run.host.run(docker("stop", *names))


@dataclass(frozen=True)
class RemoveStopped(Step):
    """Remove the containers of services of a colour that do not run."""

    colour: str
    services: tuple[str, ...]
    stage: ClassVar[Stage] = Stage.RETIRE

    def __str__(self) -> str:
        return f"remove what was stopped of {self.colour}: {', '.join(self.services)}"

    def perform(self, run: Run) -> None:
        names = [c.name for c in run.containers(self.colour, self.services) if not c.alive]
        if names:
            run.host.run(docker("rm", *names))
