"""The app's own health on a restored database, before that takes the place of the live one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.backups import isolated
from deploy.backups.drill import run_smoke
from deploy.backups.drill_images import Image, image_of
from deploy.backups.drill_project import Project
from deploy.backups.steps import RestoreRun
from deploy.config import secrets
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import GateClosed, OpsError
from deploy.core.shell import LONG, docker
from deploy.site.run import Run
from deploy.site.step import Step

FOLDER = "restore-check"  # of the state folder: the rendered project while it is there
URL = r"^((?:jdbc:)?postgres\w*(?:\+\w+)?://[^?]*/){}(?=$|\?)"  # a password may have a slash
STILL = r"postgres\w*(?:\+\w+)?://.*/{}(?![\w-])"
KEYWORD = r"(\bdbname\s*=\s*'?){}(?=$|['\s])"
NAME = re.compile(r"(^|_)(PG)?(DB|DATABASE|DBNAME)(_NAME)?$")


@dataclass(frozen=True)
class Beside(Project):
    """A project with one web service of the release that serves, on the networks of the live database."""

    @property
    def name(self) -> str:
        """What Compose calls it: a digit first, as no environment has it."""
        return project_of(self.run)


@dataclass(frozen=True)
class AskApp(Step[RestoreRun]):
    """Start the web service of the release that serves on the new database: its health, and its smoke command."""

    database: str

    def __str__(self) -> str:
        return f"ask the app's own health on {self.database}"

    def limit(self, settings: Settings) -> float:  # noqa: ARG002  # as long as it takes
        """As long as it takes: the start has a limit of its own."""
        return LONG

    def perform(self, run: RestoreRun) -> str:
        """Raise GateClosed where the app is not healthy on it, or its smoke command fails."""
        own = run.repository.run
        image = image_of("current", own)
        if not isinstance(image, Image):
            return not_asked(image.check.evidence)
        if "shared.yml" not in own.bundle.files:
            return not_asked(f"the files of release {image.release.id} are gone")
        if not (values := naming(variables(image), run.names.live, self.database)):
            return not_asked(f"no variable of {image.service.name} names {run.names.live}")
        clear(own)
        file = own.settings.state_dir / FOLDER / f"{run.point}.yml"
        shared, web = own.bundle.files["shared.yml"], image.web
        own.host.write(file, isolated.render_beside(own.settings.name, shared, web, values), mode=0o600)
        try:
            return asked(Beside(own, run.repository.service, file, (), ()), image)
        except OpsError as error:
            what = f"release {image.release.id} does not work on what was restored: {error.what}"
            then = f"inv backup.list names other points; --without-health puts {run.point} into service all the same"
            raise GateClosed(
                what, where=f"{own.host.name}: {self.database}", then=then, slug="restored-app-unhealthy"
            ) from error
        finally:
            clear(own)


def asked(project: Beside, image: Image) -> str:
    """Start an image and let it read real data; return the evidence."""
    project.start(image.run, image.named(image.service.name))
    read = run_smoke(project, image) if image.service.deploy.smoke else "it has no x-deploy.smoke"
    return f"release {image.release.id} is healthy on it; {read}"


def not_asked(reason: str) -> str:
    """Say that nobody asked the app."""
    console.warn(f"the app was not started on what was restored: {reason}")
    return "not asked"


def variables(image: Image) -> dict[str, str]:
    """Return the variables of a web service: the release's secrets, and what the compose file says."""
    files = image.run.bundle.files["blue.yml"]
    return {**secrets.rendered(image.run.bundle.env), **isolated.environment(files, f"{image.service.name}-blue")}


def naming(values: Mapping[str, str], live: str, new: str) -> dict[str, str]:
    """Return those of an app's variables that name the live database, as they name another one. Pure.

    None where an address of the live one is left that cannot be read: the app might be asked on that one.
    """
    renamed = {key: new if NAME.search(key) and value == live else value for key, value in values.items()}
    for pattern in (URL, KEYWORD):
        own = re.compile(pattern.format(re.escape(live)))
        renamed = {key: own.sub(lambda match: match[1] + new, value) for key, value in renamed.items()}
    if any(re.search(STILL.format(re.escape(live)), value) for value in renamed.values()):
        return {}
    return {key: value for key, value in renamed.items() if value != values[key]}


def clear(run: Run) -> None:
    """Remove what was started, also what a restore that was killed left."""
    words = ("--volumes", "--remove-orphans", "--timeout", "0")
    run.host.run(docker("compose", "--project-name", project_of(run), "down", *words), timeout=LONG)
    run.host.remove(run.settings.state_dir / FOLDER)


def project_of(run: Run) -> str:
    """Return what Compose calls the project."""
    return f"0-restore-{run.settings.name}"
