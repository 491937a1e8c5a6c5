"""The isolated project of a drill on its host: written, started, removed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import ceil
from pathlib import Path

from deploy.backups import isolated
from deploy.backups.drill_images import Image
from deploy.backups.points import Point
from deploy.backups.repository import Repository, variable
from deploy.core import console
from deploy.core.errors import OpsError, Refused
from deploy.core.shell import LONG, Command, compose, docker
from deploy.site.run import ONE_OFF_SECONDS, Run

FOLDER = "drill"  # of the state folder: the rendered project while it is there


@dataclass(frozen=True)
class Project(Repository):
    """The isolated project of a drill: its backup service reads the repository, and restores into its own database."""

    file: Path
    data: tuple[str, ...]  # services that keep data
    saved: tuple[str, ...]  # folders that are restored besides the database

    @property
    def name(self) -> str:
        """What Compose calls it."""
        return project_of(self.run)

    @property
    def container(self) -> str:
        """The name of the one backup container that works at a time."""
        return f"{self.name}-backup"

    @cached_property
    def live(self) -> str:
        """The name of the live database, which the drill's own has too: the app reaches it as it does there."""
        return self.databases()[0]

    def compose(self, *words: str) -> Command:
        """Make a Compose command on the rendered file."""
        return compose(self.name, str(self.file), *words)

    def in_container(self, *words: str) -> Command:
        """Make a `compose run` in the drill's own project."""
        return self.compose("run", "--rm", "-T", "--no-deps", *words)

    def start(self, run: Run, *services: str) -> None:
        """Start services of a release and wait until they are healthy; raise OpsError with their last words."""
        host, within = run.host, run.settings.rollout.healthy_within
        wait = ("--detach", "--wait", "--wait-timeout", str(ceil(within)), "--no-build", "--no-deps")
        done = host.try_run(self.compose("up", *wait, *services), timeout=within + ONE_OFF_SECONDS)
        if done.returncode:
            logs = [f"{service}: {host.engine.logs(self.container_of(service))}" for service in services]
            words = "\n".join([f"{', '.join(services)} did not become healthy:", done.output, *logs])
            raise OpsError(run.masked(words), where=host.name, slug="unhealthy")

    def container_of(self, service: str) -> str:
        """Return the name of a service's container."""
        return f"{self.name}-{service}-1"


@contextmanager
def isolated_project(repository: Repository, point: Point, images: Iterable[Image]) -> Iterator[Project]:
    """Write the rendered project of a drill, and remove it with all that was made of it."""
    run, place = repository.run, repository.address
    shared = run.bundle.files["shared.yml"]
    file = run.settings.state_dir / FOLDER / f"{point.id}.yml"
    rendered = isolated.render(run.settings.name, shared, [image.web for image in images], place)
    run.host.write(file, rendered, mode=0o600)
    try:
        yield Project(run, repository.service, file, isolated.data_services(shared), isolated.saved_folders(shared))
    finally:
        with console.step("remove what was restored"):
            clear(run)


def clear(run: Run) -> None:
    """Remove a drill's project by its labels, also what a drill that was killed left, whatever its file was."""
    words = ("--volumes", "--remove-orphans", "--timeout", "0")
    run.host.run(docker("compose", "--project-name", project_of(run), "down", *words), timeout=LONG)
    run.host.remove(run.settings.state_dir / FOLDER)


def project_of(run: Run) -> str:
    """Return what Compose calls an environment's drill."""
    return isolated.project_of(run.settings.name)


def require_rendered(repository: Repository) -> None:
    """Refuse where nothing can be isolated: a release without its files, a database that no service of the host has."""
    run = repository.run
    if "shared.yml" not in run.bundle.files:
        words = f"the files of release {run.bundle.release.id} are gone"
        raise Refused(words, where=run.host.name, then="inv deploy writes them again", slug="release-incomplete")
    place = variable(run, repository.service, "PGHOST")
    if place not in isolated.data_names(run.bundle.files["shared.yml"]):
        live = place or "no PGHOST"
        words = f"a drill starts a database of its own, and the live one ({live}) is no service of this host"
        then = "make it a service with the role data; until then inv backup.verify proves that a point can be read"
        raise Refused(words, where=run.host.name, then=then, slug="database-elsewhere")
