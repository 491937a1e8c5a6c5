"""`inv migrate.check`: migrate a clone that was restored from a backup, and start the release that serves on it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

from deploy.backups import drill, isolated
from deploy.backups.drill_images import Image, Missing, asked_of, image_of
from deploy.backups.drill_project import Project, clear, isolated_project, require_rendered
from deploy.backups.points import Point
from deploy.backups.repository import repository_of, variable
from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError
from deploy.database import alembic, attempts, gate, held
from deploy.database.held import Looks
from deploy.database.postgres import Database
from deploy.rollout.migrations import prepared
from deploy.site.checks import Check
from deploy.site.locked import locked
from deploy.site.run import ONE_OFF_SECONDS
from deploy.state import locks

COMMAND = "migrate.check"
AGAIN = "fix that, then inv migrate.check"


@dataclass(frozen=True)
class Clone:
    """What was restored, its database, and the image and command that migrate it."""

    project: Project
    database: Database
    image: Image
    service: str
    migrate: tuple[str, ...]

    def run(self, *words: str) -> str:
        """Run words in a container of the image, as a deploy's migration is run; raise OpsError with their output."""
        options = attempts.options(self.image.run, "blue", self.service)
        environment = [f"--env={key}={value}" for key, value in options.items()]
        once = ("run", "--rm", "-T", "--no-deps", *environment, self.image.named(self.service))
        try:
            return self.project.run.host.run(self.project.compose(*once, *words), timeout=ONE_OFF_SECONDS)
        except CommandFailed as error:
            failed = f"`{' '.join(words)}` ended with {error.returncode}: {self.image.run.masked(error.output)}"
            raise OpsError(failed, where=self.project.run.host.name, slug="drill-failed") from None


def check(at: Environment, wanted: str = "latest") -> list[Check]:
    """Restore a point into a clone without a way out, migrate that, and let the release that serves read it.

    The live database is not touched, and a deploy goes on beside it. Raises Refused where there is no point, no room,
    or nothing that migrates, before anything is made.
    """
    with locked(at, COMMAND):
        fleet, migrating, _ = prepared(at, f"inv {COMMAND}")
    repository = repository_of(at)
    host, state_dir = repository.run.host, at.settings.state_dir
    with locks.held([host], state_dir, COMMAND, name="dump"):
        clear(repository.run)
        point = repository.fetched(repository.point(wanted))
        require_rendered(repository)
        drill.require_room(host, [point])
        new = image_of("new", next(run for run in fleet.runs if run.host.name == host.name))
        if isinstance(new, Missing):
            return [new.check]
        serving = image_of("current", repository.run)
        images = [image for image in (new, serving) if isinstance(image, Image)]
        console.say(f"recovery point {point.id}, taken {point.taken}")
        with isolated_project(repository, point, images) as project:
            return [*checked(project, point, new, migrating, serving)]


def checked(
    project: Project, point: Point, new: Image, migrating: gate.Image, serving: Image | Missing
) -> Iterator[Check]:
    """Restore, migrate, and start the release that serves; what comes after a failure is UNKNOWN."""
    restored = drill.attempt("rows", lambda: drill.restore(project, point), f"inv backup.verify {point.id}")
    results = [restored]
    if restored.result == "PASS":
        results += migrated(Clone(project, database_of(project), new, migrating.service, migrating.migrate))
    yield from results
    if isinstance(serving, Missing):
        yield serving.check
    elif all(one.result == "PASS" for one in results):
        yield from drill.check_image(project, serving, (), AGAIN)
    else:
        why = f"not tried: {results[-1].asked} is {results[-1].result}"
        yield from (Check(asked, "UNKNOWN", why, AGAIN) for asked in asked_of("current"))


def migrated(clone: Clone) -> Iterator[Check]:
    """Migrate revision by revision where Alembic does, else at once; stop at the first that fails."""
    steps = {"migrations": clone.migrate}
    if ask := alembic.history_command(clone.migrate):
        before = clone.migrate[: clone.migrate.index("upgrade") + 1]
        pending = alembic.pending(alembic.history(clone.run(*ask)))
        steps = {f"revision {one.id}": (*before, one.id) for one in pending}
    if not steps:
        yield Check("pending revisions", "PASS", "none: the point has the schema of this checkout")
    for asked, words in steps.items():
        result = timed(clone, asked, words)
        yield result
        if result.result != "PASS":
            return


def timed(clone: Clone, asked: str, words: tuple[str, ...]) -> Check:
    """Apply one revision; FAIL where it fails, or keeps others out for longer than they are let wait for a lock."""
    seen = list[Looks]()

    def apply() -> str:
        began = time.monotonic()
        with held.watched(clone.database) as looks:
            clone.run(*words)
            seconds = time.monotonic() - began
        seen.append(looks)
        return f"{seconds:.1f} s; " + ("; ".join(map(str, looks.held)) or f"no lock in looks of {held.INTERVAL} s")

    result = drill.attempt(asked, apply, AGAIN)
    return judged(result, seen[0], clone.image.run.settings.migrate.lock_timeout) if seen else result


def judged(applied: Check, looks: Looks, limit: float) -> Check:
    """Judge the locks of a revision that was applied. Pure."""
    if looks.failed:
        return replace(applied, result="UNKNOWN", evidence=f"{applied.evidence}; {looks.failed}", then=AGAIN)
    long = "; ".join(str(one) for one in looks.held if one.seconds > limit)
    if not long:
        return applied
    words = f"{long}: whoever needs the table waits that long, and migrate.lock_timeout is {limit:g} s"
    then = "split it, or do it in batches (docs/how-to/migrations.md), then inv migrate.check"
    return replace(applied, result="FAIL", evidence=words, then=then)


def database_of(project: Project) -> Database:
    """Find the clone's PostgreSQL, which the backup service's PGHOST names; it has its client."""
    names = isolated.data_names(project.run.bundle.files["shared.yml"])
    service = names[variable(project.run, project.service, "PGHOST")]
    return Database(project.run.host, project.container_of(service))
