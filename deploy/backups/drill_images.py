"""Which releases must start on a backup: the one that serves, and the one that a rollback would go to."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.backups import isolated
from deploy.backups.points import Point
from deploy.config.environment import Environment
from deploy.core.errors import Refused
from deploy.core.model import Release, ReleasedService, Schema
from deploy.core.shell import docker
from deploy.site.checks import Check
from deploy.site.run import Run, kept_run
from deploy.state.store import State


@dataclass(frozen=True)
class Image:
    """A release whose web service is started on what was restored."""

    which: str  # current or previous
    run: Run
    service: ReleasedService

    @property
    def release(self) -> Release:
        """The release."""
        return self.run.bundle.release

    @property
    def web(self) -> isolated.Web:
        """What of it is rendered: the service, and the one that migrates."""
        migrating = self.release.migrating
        names = dict.fromkeys([self.service.name, *([migrating.name] if migrating else [])])
        return isolated.Web(self.run.bundle.files["blue.yml"], tuple(names), self.which)

    def named(self, service: str) -> str:
        """Return what a service of it is called in the drill."""
        return f"{service}-{self.which}"


@dataclass(frozen=True)
class Missing:
    """A release that cannot be started here, and why."""

    which: str
    check: Check


def images_of(at: Environment, run: Run) -> tuple[Image | Missing, ...]:
    """Return the releases that must start on a backup: the one that serves, and the one before it, if there is one."""
    served = [release for release in run.state.served() if release != run.bundle.release.id]
    return (image_of("current", run), *(previous_of(at, run, release) for release in served[:1]))


def previous_of(at: Environment, run: Run, release: str) -> Image | Missing:
    """Return the release before, where a rollback could go to it: advice where the schema has left it behind."""
    starts, _ = asked_of("previous")
    try:
        before = kept_run(at, run.host, release)
    except Refused as error:
        return Missing("previous", Check(starts, "UNKNOWN", f"release {release}: {error.what}", error.then))
    if reason := misfit(run.state, release):
        then = "a restore of what is this old would need that release: inv backup.restore names it"
        return Missing("previous", Check(starts, "FAIL", f"not tried: {reason}", then, advice=True))
    return image_of("previous", before)


def image_of(which: str, run: Run) -> Image | Missing:
    """Return the release as an image to start: its first web service with a smoke command, else its first."""
    starts, _ = asked_of(which)
    web = sorted(run.bundle.release.of("web"), key=lambda service: not service.deploy.smoke)
    if not web or "blue.yml" not in run.bundle.files:
        words = f"release {run.bundle.release.id} has no web service on {run.host.name}, where the data is"
        return Missing(which, Check(starts, "UNKNOWN", words, "give that host the role app, then inv deploy"))
    if run.host.try_run(docker("image", "inspect", web[0].image).as_query()).returncode:
        words = f"the image of {web[0].name} in release {run.bundle.release.id} is gone from {run.host.name}"
        then = f"inv deploy --to={run.bundle.release.id} says how to get it"
        return Missing(which, Check(starts, "UNKNOWN", words, then))
    return Image(which, run, web[0])


def misfit(records: State, release: str) -> str:
    """Say why the schema does not fit a release that served before; empty where it does, or nothing says it."""
    lines = (line.schema_revision for line in reversed(records.ledger()) if line.release == release)
    revision, schema = next(filter(None, lines), None), records.schema()
    if not revision or not schema or revision in schema.serves:
        return ""
    return f"release {release} needs another schema, {revision}; the database is at {schema.revision}"


def migration(image: Image, point: Point) -> tuple[str, ...]:
    """Return the command that brings a point to the schema of the current release; nothing where it has it."""
    if image.which != "current" or not image.release.migrating:
        return ()
    revision = point.manifest.revision if point.manifest else None
    differs = is_of_other_schema(image.run.state.schema(), revision, point.release, image.release.id)
    return image.release.migrating.deploy.migrate if differs else ()


def is_of_other_schema(schema: Schema | None, revision: str | None, taken_by: str, release: str) -> bool:
    """Tell whether a point is of another schema than the live database; without revisions the releases tell. Pure."""
    return revision != schema.revision if schema and revision else taken_by != release


def asked_of(which: str) -> tuple[str, str]:
    """Name the two checks of an image. Pure."""
    return f"{which} release starts", f"{which} release's smoke"
