"""Steps in one-off containers: the migration, jobs, and what an interrupted run left of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploy.core import console
from deploy.core.errors import OpsError
from deploy.core.facts import Facts
from deploy.core.model import Revision, Schema
from deploy.core.poll import wait_until
from deploy.database import alembic, gate, schema
from deploy.database.attempts import attempt, drop_invalid_indexes, fresh
from deploy.database.postgres import database_of
from deploy.rollout.steps.step import Stage, Step
from deploy.site.run import ONE_OFF_SECONDS, Run


@dataclass(frozen=True)
class AwaitOrphans(Step):
    """Wait for one-off containers that an interrupted run left: no second migration may run at the same time."""

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
        listing, before = run.release.listing, self.revisions(run)
        listed = list_migrations(run, self.colour, listing.name, listing.deploy.migrations) if listing else None
        same = before is not None and not alembic.pending(before)
        if before is not None and not same:
            drop_invalid_indexes(run)
        if same and self.is_done(run, before or ()):
            console.say("     nothing to migrate: the database has every revision")
        else:
            attempt(run, self.colour, self.service, self.command, pending=not same)
        if listed:
            record_migrations(run, listed)
        elif ask := alembic.history_command(self.command):
            after = before if same and before else alembic.history(run.one_off(self.colour, self.service, ask))
            record_history(run, self.service, after)

    def is_done(self, run: Run, revisions: tuple[Revision, ...]) -> bool:
        """Tell whether `upgrade head` would find nothing: the gate saw that, and the data services run since before."""
        whole = self.command[-2:] in (("upgrade", "head"), ("upgrade", "heads"))
        elsewhere = len(run.settings.hosts) > 1 and not run.release.of("data")
        current = whole and not elsewhere and alembic.current(revisions)
        return bool(current) and started(run.facts) == started(fresh(run).facts)

    def revisions(self, run: Run) -> tuple[Revision, ...] | None:
        """Return what the gate saw of the revisions; where it could not look before data ran, it looks now."""
        judged_by = run.judged_by
        if run.revisions is not None or not (judged_by.facts.edge.release and alembic.history_command(self.command)):
            return run.revisions
        image = gate.Image(run, self.colour, self.service, self.command)
        revisions = image.history()
        if alembic.pending(revisions):
            found = database_of([fresh(run), *run.peers])
            gate.require(gate.checks(image, revisions, gate.targets(judged_by.state, run.target), found), run.host.name)
        return revisions


@dataclass(frozen=True)
class RecordMigrations(Step):
    """Remember which migrations the database has, once the jobs of a release have migrated it."""

    colour: str
    service: str
    command: tuple[str, ...]
    stage: ClassVar[Stage] = Stage.RECORD

    def __str__(self) -> str:
        return f"remember the migrations: {' '.join(self.command)}"

    def perform(self, run: Run) -> None:
        record_migrations(run, list_migrations(run, self.colour, self.service, self.command))


def started(facts: Facts) -> dict[str, str]:
    """Return when each container with data was started. Pure."""
    return {c.name: c.started for c in facts.shared.values() if c.role == "data"}


def list_migrations(run: Run, colour: str, service: str, command: tuple[str, ...]) -> dict[str, bool]:
    """Return the migrations that a release's code knows, and whether each is marked compatible."""
    try:
        return schema.parse(run.one_off(colour, service, command))
    except ValueError as error:
        words = f"`{' '.join(command)}` must print the migrations that the code knows, one a line: {error}"
        then = f"fix x-deploy.migrations of {service} in the compose file, then inv deploy"
        raise OpsError(words, where=service, then=then, slug="schema-unknown") from None


def record_migrations(run: Run, listed: dict[str, bool]) -> None:
    """Remember that the database has these migrations too."""
    run.state.keep_schema(schema.migrated(run.judged_by.state.schema(), listed, run.release.id))


def record_history(run: Run, service: str, revisions: tuple[Revision, ...]) -> None:
    """Remember the revision that Alembic says the database is at, and the code's revisions that fit it."""
    at = alembic.current(revisions)
    if at is None:
        raise OpsError(
            "the migration ended well, but the database is at no revision that the image knows",
            where=service,
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
