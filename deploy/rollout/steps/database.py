"""Steps in one-off containers: the migration, jobs, and what an interrupted run left of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploy.core.errors import OpsError
from deploy.core.model import Schema
from deploy.core.poll import wait_until
from deploy.database import alembic
from deploy.rollout.steps.step import Stage, Step
from deploy.site.run import ONE_OFF_SECONDS, Run


@dataclass(frozen=True)
class AwaitOrphans(Step):
    """Wait for one-off containers that an interrupted run left: a second migration beside the first would be worse."""

    containers: tuple[str, ...]
    stage: ClassVar[Stage] = Stage.SHARED

    def __str__(self) -> str:
        return f"wait for what an interrupted run left: {', '.join(self.containers)}"

    def perform(self, run: Run) -> None:
        if not wait_until(lambda: not run.host.engine.one_offs(run.settings.name), ONE_OFF_SECONDS, pause=0.5):
            first, names = self.containers[0], ", ".join(self.containers)
            raise OpsError(
                f"an interrupted run's container still works after {ONE_OFF_SECONDS} s: {names}",
                where=run.host.name,
                then=run.host.command_line(f"docker logs {first}") + f"; docker stop {first} there ends it; inv resume",
                slug="migration-still-runs",
            )


@dataclass(frozen=True)
class Migrate(Step):
    """Migrate in a one-off container of the new image, and remember which releases the schema still fits."""

    colour: str
    service: str
    command: tuple[str, ...]
    stage: ClassVar[Stage] = Stage.MIGRATE

    def __str__(self) -> str:
        return f"migrate the database: {' '.join(self.command)}"

    def perform(self, run: Run) -> None:
        run.one_off(self.colour, self.service, self.command)
        ask = alembic.history_command(self.command)
        if not ask:
            return
        revisions = alembic.history(run.one_off(self.colour, self.service, ask))
        at = alembic.current(revisions)
        if at is None:
            raise OpsError(
                "the migration ended well, but the database is at no revision that the image knows",
                where=self.service,
                then="inv logs, and alembic current in the backend",
                slug="schema-unknown",
            )
        run.state.keep_schema(Schema(revision=at, serves=alembic.served_by(revisions, at), release=run.release.id))


@dataclass(frozen=True)
class RunJob(Step):
    """Run a job to its end before traffic moves."""

    colour: str
    service: str
    stage: ClassVar[Stage] = Stage.JOBS

    def __str__(self) -> str:
        return f"run {self.service}"

    def perform(self, run: Run) -> None:
        run.one_off(self.colour, self.service, ())
