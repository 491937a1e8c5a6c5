"""Steps on what colours share: networks, volumes, data services and the edge."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import ClassVar

from deploy.certificates.store import Store
from deploy.core import console
from deploy.core.errors import Interrupted, OpsError, Unreachable, acting
from deploy.core.poll import wait_until
from deploy.core.shell import docker
from deploy.release.render import HOLDER
from deploy.rollout import shared
from deploy.rollout.health import ANSWERS_WITHIN, STEADY_SECONDS, answers_visitors, await_healthy, is_serving
from deploy.rollout.start import start_despite_stale_endpoints, start_stopped
from deploy.rollout.steps.step import Stage, Step
from deploy.site.run import Run


@dataclass(frozen=True)
class CreateShared(Step):
    """Create networks and volumes that colours share, those that are missing.

    Compose creates them as the files declare them, for a container that is removed again.
    """

    resources: tuple[str, ...]
    stage: ClassVar[Stage] = Stage.SHARED

    def __str__(self) -> str:
        return f"create {len(self.resources)} networks and volumes that colours share"

    def perform(self, run: Run) -> None:
        run.host.run(run.compose("", "--profile", HOLDER, "create", "--no-recreate", "--no-build", HOLDER))
        run.host.run(run.compose("", "--profile", HOLDER, "rm", "--force", "--stop", HOLDER))


@dataclass(frozen=True)
class TemporaryCertificate(Step):
    """Have an edge that is about to start find a certificate; one that is there stays.

    Without one nginx does not start.
    """

    stage: ClassVar[Stage] = Stage.SHARED

    def __str__(self) -> str:
        return "make a temporary certificate, where the edge has none"

    def perform(self, run: Run) -> str | None:
        store = Store(run, run.release.of("certificates")[0])
        if not store.call("temporary", *run.settings.tls_names)["made"]:
            return None
        words = "a temporary certificate is served, which nobody trusts; next: inv tls.issue"
        console.warn(acting(words, run.settings.env))
        return "made"


@dataclass(frozen=True)
class StartShared(Step):
    """Start data services and the edge, those that do not run, and wait until they are healthy; never recreate one.

    The way back goes on without what is not `required`.
    """

    services: tuple[str, ...]
    required: bool = True
    stage: ClassVar[Stage] = Stage.SHARED

    def __str__(self) -> str:
        return f"start {', '.join(self.services)}"

    def perform(self, run: Run) -> None:
        data = {s.name for s in run.bundle.release.of("data")} & {*self.services}
        try:
            start_despite_stale_endpoints(run, lambda: self.start(run))
            await_healthy(run, "", self.services, steady=STEADY_SECONDS if data else 0)
        except (Interrupted, Unreachable):
            raise
        except OpsError as error:
            if self.required:
                raise
            console.warn(f"{error.what}\n  the release that is gone back to is started without; {error.then}")

    def start(self, run: Run) -> None:
        """Start what is missing; without files, what was stopped; at once what the engine only starts again later."""
        if again := [c.name for c in run.containers("", self.services) if c.state == "restarting"]:
            run.host.run(docker("restart", *again))
        if run.bundle.release.reconstructed:
            start_stopped(run, "", self.services)
        else:
            run.host.run(run.compose("", "up", "--detach", "--no-recreate", "--no-build", *self.services))


@dataclass(frozen=True)
class RecreateShared(Step):
    """Recreate data services or the edge, which a deploy does only where `--include` asks; requests fail meanwhile.

    The journal keeps what they were made of (`former`), so that going back knows what it restores; by the files of
    another `release` where the one that is gone back to never applied its own. It fails where they do not become
    healthy, or where the app, or something at the port of visitors, answered before and does not after.
    """

    services: tuple[str, ...]
    former: tuple[str, ...] = ()
    release: str = ""
    stage: ClassVar[Stage] = Stage.SHARED

    def __str__(self) -> str:
        return f"recreate {', '.join(self.services)}: an outage"

    def perform(self, run: Run) -> None:
        names = ", ".join(self.services)
        console.say(f"     {names}: stopped, recreated and started; what needs them fails for some seconds")
        self.warn_of_routes(run)
        before = bool(run.release.of("edge")) and wait_until(lambda: is_serving(run), ANSWERS_WITHIN)
        public = before and answers_visitors(run)
        began = time.monotonic()
        self.recreate(run)
        await_healthy(run, "", self.services, steady=STEADY_SECONDS)
        answered = before and wait_until(
            lambda: is_serving(run) and (answers_visitors(run) or not public),
            run.settings.rollout.healthy_within,
            pause=0.02,
        )
        seconds = time.monotonic() - began
        if before and not answered:
            raise self.unanswered(run, seconds)
        outage = f"outage: at most {seconds:.1f} s; the app answers again"
        unknown = f"healthy after {seconds:.1f} s; the app did not answer here before, so no outage is known"
        console.say(f"     {outage if before else unknown}")

    def recreate(self, run: Run) -> None:
        """Let Compose recreate the services.

        Containers that serve first join a network of each service that will be on none of theirs: it must reach them
        from its first second.
        """
        text = run.state.text(self.release, "shared.yml") if self.release else run.bundle.files.get("shared.yml", "")
        containers = run.host.engine.containers(run.settings.name)
        for network, container in shared.connections(shared.read(text), self.services, containers):
            run.host.run(docker("network", "connect", network, container))
        words = ("up", "--detach", "--no-deps", "--no-build", "--force-recreate", *self.services)
        run.host.run(run.compose("", *words, release=self.release))

    def warn_of_routes(self, run: Run) -> None:
        """Say which mounts the routes that serve now will lack until the switch: no probe shows that."""
        serving, edges = run.serving_release, {service.name for service in run.release.of("edge")} & {*self.services}
        if not serving or serving.id == run.release.id or not edges:
            return
        former, specs = shared.read(run.state.text(serving.id, "shared.yml")), shared.of_files(run.bundle.files)
        lost = [text for name in edges & {*former} for text in shared.mounts_lacking(former[name], specs[name].mounts)]
        if lost:
            console.warn(f"until the switch the edge of release {serving.id} {', '.join(lost)}")

    def unanswered(self, run: Run, seconds: float) -> OpsError:
        """Say that the app answered before and does not after."""
        names = ",".join(self.services)
        return OpsError(
            f"{', '.join(self.services)} was recreated, and the app has not answered since, for {seconds:.1f} s",
            where=f"{run.host.name}, through the edge",
            then=f"inv logs {names}; fix it in the compose file, then inv deploy --include={names}",
            slug="unhealthy",
        )
