"""Steps for workers, so that no task is lost between two releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError
from deploy.core.model import other
from deploy.core.poll import poll
from deploy.core.shell import docker
from deploy.rollout.steps.step import Stage, Step
from deploy.site.run import Run


@dataclass(frozen=True)
class Quiet(Step):
    """Let workers take no new tasks: a task that only the next release knows would be lost on them.

    What they have begun they finish, at the latest when they are stopped.
    """

    colour: str
    services: tuple[str, ...]
    stage: ClassVar[Stage] = Stage.QUIET

    def __str__(self) -> str:
        return f"let {self.colour} take no new tasks: {', '.join(self.services)}"

    def perform(self, run: Run) -> None:
        failed = run.exec_all(run.containers(self.colour, self.services), lambda deploy: deploy.drain)
        if failed:
            then = run.host.command_line(f"docker logs {failed[0]}") + ", inv deploy"
            raise OpsError(
                f"{', '.join(failed)} did not stop taking tasks",
                where=run.host.name,
                then=then,
                slug="workers-unresponsive",
            )


@dataclass(frozen=True)
class Resume(Step):
    """Let services that were drained work as before."""

    colour: str
    services: tuple[str, ...]
    stage: ClassVar[Stage] = Stage.START

    def __str__(self) -> str:
        return f"let {self.colour} work as before: {', '.join(self.services)}"

    def perform(self, run: Run) -> None:
        failed = run.exec_all(run.containers(self.colour, self.services), lambda deploy: deploy.resume)
        if failed:
            then = run.host.command_line(f"docker restart {' '.join(failed)}") + ", inv resume"
            raise OpsError(
                f"{', '.join(failed)} did not go on", where=run.host.name, then=then, slug="workers-unresponsive"
            )


@dataclass(frozen=True)
class AwaitTasks(Step):
    """Wait until no task is left, queued, running or scheduled, that only the workers of this colour know.

    Traffic has moved by now: what cannot be asked, or takes too long, is a warning, and no reason to return to a bad
    release.
    """

    colour: str
    service: str
    stage: ClassVar[Stage] = Stage.RETIRE

    def __str__(self) -> str:
        return f"wait for tasks that only {self.service} of {self.colour} knows"

    def limit(self, settings: Settings) -> float:
        return settings.rollout.tasks_within

    def perform(self, run: Run) -> None:
        target = run.bundle.release.id
        unknown = f"it is not known whether tasks are left that {target} does not know"
        if run.bundle.release.reconstructed:
            console.warn(f"{unknown}: its record is gone")
            return
        try:
            left = self.await_none_left(run)
        except CommandFailed as error:
            console.warn(f"{unknown}: {run.masked(str(error))}")
            return
        if left:
            limit = self.limit(run.settings)
            console.warn(f"after {limit:.0f} s tasks are left that {target} does not know: {', '.join(sorted(left))}")

    def await_none_left(self, run: Run) -> set[str]:
        """Compare what is pending with what the release that takes over knows, until nothing else is left."""
        workers = (c.name for c in run.containers(self.colour, [self.service]) if c.state == "running")
        worker, words = next(workers, ""), run.services[self.service].deploy.tasks
        if not worker:
            console.warn(f"{self.service} of {self.colour} does not run: it cannot be asked which tasks only it knows")
            return set()
        understood = set(run.one_off(other(self.colour), self.service, (*words, "known")).split())
        for _ in poll(self.limit(run.settings), pause=1):
            left = set(run.host.run(docker("exec", worker, *words, "pending").as_query()).split()) - understood
            if not left:
                break
        return left
