"""Drill backups: restore recovery points into an isolated copy, and start the app's images on it."""

from __future__ import annotations

import secrets as random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from deploy.backups.drill_images import Image, Missing, asked_of, images_of, migration
from deploy.backups.drill_project import Project, clear, isolated_project, require_rendered
from deploy.backups.points import Point, State, differences, room_needed
from deploy.backups.repository import Repository, repository_of
from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import CommandFailed, Interrupted, Locked, OpsError, Refused, Unreachable
from deploy.core.shell import docker
from deploy.hosts.host import Host
from deploy.site.checks import Check
from deploy.site.run import ONE_OFF_SECONDS
from deploy.state import locks

GIGABYTE = 1_000_000_000


@dataclass(frozen=True)
class Drilled:
    """What the drill of one recovery point came to, and how many seconds it took."""

    point: str
    state: State
    seconds: float
    checks: tuple[Check, ...]

    @property
    def document(self) -> dict[str, object]:
        """The drill for programs."""
        checks = [check.document for check in self.checks]
        return {"id": self.point, "state": self.state, "seconds": self.seconds, "checks": checks}


def drill(at: Environment, wanted: str = "") -> tuple[Drilled, ...]:
    """Restore the latest point and a random older one, or the `wanted` one, and start the app's images on each.

    A deploy goes on beside it. Raises Refused where there is no point, or no room, before anything is made.
    """
    repository = repository_of(at)
    with locks.held([repository.run.host], at.settings.state_dir, "backup.drill", name="dump"):
        clear(repository.run)  # a drill that was killed left it
        points = chosen(repository, wanted)
        require_rendered(repository)
        require_room(repository.run.host, points)
        images = images_of(at, repository.run)
        return tuple(drill_point(repository, repository.fetched(point), images) for point in points)


def drill_point(repository: Repository, point: Point, images: Sequence[Image | Missing]) -> Drilled:
    """Drill one point; it counts as restored where every check passed."""
    console.say(f"recovery point {point.id}, taken {point.taken}")
    started = time.monotonic()
    with isolated_project(repository, point, [image for image in images if isinstance(image, Image)]) as project:
        results = [*checked(project, point, images)]
    taken = time.monotonic() - started
    checks, seconds = (*results, in_time(taken, repository.run.settings.backup.drill_within)), round(taken, 1)
    if any(check.closes for check in checks):
        return Drilled(point.id, point.state, seconds, checks)
    repository.evidence.prove(point.id, "restored", proof(images, checks[0], seconds))
    return Drilled(point.id, "restored", seconds, checks)


def checked(project: Project, point: Point, images: Sequence[Image | Missing]) -> Iterator[Check]:
    """Check what was restored, then each image on it."""
    again = f"fix that, then inv backup.drill {point.id}"
    restored = attempt("rows", lambda: restore(project, point), f"inv backup.verify {point.id}; {again}")
    yield restored
    if restored.result != "PASS":
        left = ("amcheck", *(asked for image in images for asked in asked_of(image.which)))
        yield from (Check(asked, "UNKNOWN", "not tried: the restore failed", again) for asked in left)
        return
    yield attempt("amcheck", lambda: find_damage(project), "inv backup.list names other points")
    for image in images:
        if isinstance(image, Image):
            yield from check_image(project, image, migration(image, point), again)
        else:
            yield image.check


def restore(project: Project, point: Point) -> str:
    """Restore a point into the drill's empty database; return what is there, or raise OpsError where it differs."""
    project.start(project.run, *project.data)
    expected, restored = project.restore(point.snapshot, project.live)
    for folder in project.saved:
        project.call("restic", "restore", "--quiet", f"{point.snapshot}:{folder}", "--target", folder)
    if differing := differences(expected, restored):
        raise OpsError("; ".join(differing), slug="restored-data-differs")
    besides = f", {', '.join(project.saved)}" if project.saved else ""
    rows = f"{sum(restored.rows.values())} rows in {len(restored.rows)} tables"
    return f"{rows}, schema {restored.revision or 'without a revision'}{besides}"


def find_damage(project: Project) -> str:
    """Read every table and index; raise OpsError with what is damaged."""
    project.call("amcheck", project.live)
    return "every table and index was read"


def check_image(project: Project, image: Image, migrate: tuple[str, ...], again: str) -> Iterator[Check]:
    """Start a release's web service on what was restored, and let it read real data."""
    starts, smoke = asked_of(image.which)
    yield (started := attempt(starts, lambda: start(project, image, migrate), again))
    if started.result != "PASS":
        yield Check(smoke, "UNKNOWN", "not tried: it did not start", again)
    elif not image.service.deploy.smoke:
        then = "give a web service x-deploy.smoke, a command that reads real data and exits 0; then inv deploy"
        yield Check(smoke, "UNKNOWN", f"release {image.release.id} has no x-deploy.smoke", then)
    else:
        yield attempt(smoke, lambda: run_smoke(project, image), again)
    project.run.host.run(docker("rm", "--force", project.container_of(image.named(image.service.name))))


def start(project: Project, image: Image, migrate: tuple[str, ...]) -> str:
    """Start a release's web service, after its migration where the point is of another schema."""
    if migrate:
        migrate_first(project, image, migrate)
    project.start(image.run, image.named(image.service.name))
    migrated = f"; `{' '.join(migrate)}` was run first, as after a restore: the point is of another schema"
    return f"release {image.release.id} is healthy on it{migrated if migrate else ''}"


def migrate_first(project: Project, image: Image, migrate: tuple[str, ...]) -> None:
    """Migrate what was restored; raise OpsError with what the migration said."""
    name = image.named((image.release.migrating or image.service).name)
    words = ("run", "--rm", "-T", "--no-deps", "--name", f"{project.name}-migrate", name, *migrate)
    try:
        project.run.host.run(project.compose(*words), timeout=ONE_OFF_SECONDS)
    except CommandFailed as error:
        failed = f"{' '.join(migrate)} ended with {error.returncode}: {image.run.masked(error.output)}"
        raise OpsError(failed, where=project.run.host.name, slug="drill-failed") from None


def run_smoke(project: Project, image: Image) -> str:
    """Run the command that reads real data; return what it printed."""
    smoke, container = image.service.deploy.smoke, project.container_of(image.named(image.service.name))
    done = project.run.host.try_run(docker("exec", container, *smoke), timeout=ONE_OFF_SECONDS)
    output = image.run.masked(done.output)
    if done.returncode:
        raise OpsError(f"`{' '.join(smoke)}` ended with {done.returncode}: {output}", slug="drill-failed")
    return output or f"`{' '.join(smoke)}` exited 0"


def attempt(asked: str, act: Callable[[], str], then: str) -> Check:
    """Do something that gives evidence: PASS, or FAIL with what went wrong."""
    try:
        with console.step(asked):
            return Check(asked, "PASS", act())
    except (Interrupted, Locked, Unreachable):
        raise
    except OpsError as error:
        return Check(asked, "FAIL", error.what, then)


def in_time(seconds: float, within: float) -> Check:
    """Judge how long a drill took. Pure."""
    then = "" if seconds <= within else "a restore takes as long: raise backup.drill_within, or make it faster"
    return Check(f"within {within:.0f} s", "PASS" if seconds <= within else "FAIL", f"{seconds:.1f} s", then)


def proof(images: Iterable[Image | Missing], restored: Check, seconds: float) -> str:
    """Say by what a point counts as restored. Pure."""
    started = " and ".join(image.release.id for image in images if isinstance(image, Image))
    return f"drilled in {seconds} s: {restored.evidence}; {started} started on it and read it"


def chosen(repository: Repository, wanted: str) -> tuple[Point, ...]:
    """Choose the points to drill: the one that is `wanted`, else the latest and a random older one, if there is one."""
    points = repository.points()
    if wanted or not points:
        return (repository.point(wanted or "latest"),)
    *older, latest = points
    return (latest, *([random.choice(older)] if older else []))


def require_room(host: Host, points: Iterable[Point]) -> None:
    """Refuse where the largest point, as dump and as database, does not fit where the engine keeps volumes."""
    folder = host.engine.folder()
    largest = max(max(point.bytes, point.manifest.bytes if point.manifest else 0) for point in points)
    free, needed = host.free_bytes(folder), room_needed(largest, largest)
    if free < needed:
        words = f"{free / GIGABYTE:.1f} GB are free, and a drill takes up to {needed / GIGABYTE:.1f} GB"
        then = "inv disk shows what takes the room; inv prune"
        raise Refused(words, where=f"{host.name}: {folder}", then=then, slug="disk-full")
