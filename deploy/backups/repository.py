"""The backup service of an environment: each thing that it does is one command in a container of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from deploy.backups.points import Evidence, EvidenceFile, Manifest, Point, joined
from deploy.config.environment import Environment
from deploy.core.errors import CommandFailed, Locked, OpsError, Refused
from deploy.core.model import ReleasedService
from deploy.core.shell import LONG, Command, docker
from deploy.site.facts import observe_all
from deploy.site.run import Run, standing

TAG = "recovery-point"
SHORT = 8  # characters of a snapshot's id, as restic shows it
# https://restic.readthedocs.io/en/stable/075_scripting.html#exit-codes
NO_REPOSITORY, LOCKED, WRONG_PASSWORD = 10, 11, 12
NO_BACKUPS = "no-backup-repository"


@dataclass(frozen=True)
class Repository:
    """The repository that one host's backup service writes to, and the database that it saves."""

    run: Run
    service: ReleasedService

    @property
    def host_name(self) -> str:
        """The host that restic's snapshots have: the environment, so that they go together wherever it runs."""
        return self.run.settings.name

    @property
    def container(self) -> str:
        """The name of the one container that works at a time."""
        return f"{self.run.settings.name}-backup"

    @cached_property
    def evidence(self) -> EvidenceFile:
        """What the host remembers of its recovery points."""
        return EvidenceFile(self.run.host, self.run.settings.state_dir)

    def in_container(self, *words: str) -> Command:
        """Make a `compose run` that removes its container at the end: options, the service, a program."""
        return self.run.compose("", "run", "--rm", "-T", "--no-deps", *words)

    def command(self, *words: str) -> Command:
        """Make the command that does one thing in the container of which there is one at a time."""
        return self.in_container("--name", self.container, self.service.name, *words)

    def ask(self, *words: str) -> str:
        """Run a program that changes nothing, also while another works; return what it printed."""
        return self.finish(words[0], self.in_container(self.service.name, *words).as_query())

    def call(self, *words: str) -> str:
        """Run one of docker/backup's programs to its end; return what it printed.

        Raises Locked while a container that an interrupted run left still works, OpsError when the program fails.
        """
        self.require_alone()
        return self.finish(words[0], self.command(*words))

    def finish(self, program: str, command: Command) -> str:
        """Run a command to its end; return what it printed, or raise OpsError in words."""
        done = self.run.host.try_run(command, timeout=LONG)
        if done.returncode:
            raise self.failure(program, CommandFailed(program, done.returncode, self.run.masked(done.output), ""))
        return done.stdout

    def require_alone(self) -> None:
        """Remove the container that a crash of the engine left; raise Locked where one still works."""
        left = self.run.host.engine.inspect(self.container)
        if left and left.state not in ("created", "exited", "dead"):
            then = f"wait for it: {self.run.host.command_line(f'docker logs --follow {self.container}')}"
            raise Locked("another backup container works", where=self.run.host.name, then=then)
        if left:
            self.run.host.run(docker("rm", self.container))

    def failure(self, program: str, error: CommandFailed) -> OpsError:
        """Say in words what restic's exit codes mean; the repository is made by the first backup."""
        where = f"{self.run.host.name}: {self.container}"
        if error.returncode == NO_REPOSITORY:
            return OpsError(
                "there is no repository yet", where=where, then="inv backup makes it", slug="no-backup-repository"
            )
        if error.returncode == WRONG_PASSWORD:
            words = "RESTIC_PASSWORD is not the password of this repository"
            then = "put the one that it was made with into the secrets file, then inv deploy"
            return OpsError(words, where=where, then=then, slug="backup-password-wrong")
        if error.returncode == LOCKED:
            unlock = self.run.host.command_line(str(self.command("restic", "unlock", "--remove-all")))
            then = f"wait for whoever has it; where nobody has, {unlock}"
            return Locked(f"the repository is locked: {error.output}", where=where, then=then,
                          slug="backup-repository-locked")  # fmt: skip
        then = "fix that, then the same again; inv backup.list shows what is there"
        return OpsError(f"{program} failed: {error.output}", where=where, then=then, slug="backup-failed")

    def documents(self, *words: str) -> list[dict[str, Any]]:
        """Run a program that prints JSON, a document a line."""
        return documents(self.call(*words))

    @property
    def taking(self) -> Command:
        """The command that takes a recovery point, which a schedule runs as well."""
        return self.command("take", self.host_name, TAG)

    def take(self) -> tuple[str, Manifest]:
        """Take a recovery point; return its id and what it holds."""
        manifest, summary = self.documents("take", self.host_name, TAG)
        return str(summary["snapshot_id"])[:SHORT], Manifest.model_validate(manifest)

    def points(self) -> tuple[Point, ...]:
        """List the recovery points, oldest first; none where there is no repository yet."""
        try:
            own = ("--host", self.host_name, "--tag", TAG)
            (snapshots,) = documents(self.ask("restic", "snapshots", "--json", "--no-lock", *own))
        except OpsError as error:
            if error.slug == NO_BACKUPS:
                return ()
            raise
        return joined(listed(snapshots), self.evidence.lines())

    def point(self, wanted: str) -> Point:
        """Return one recovery point: by its id, or `latest`. Raises Refused when there is none."""
        points = self.points()
        matching = points[-1:] if wanted == "latest" else [one for one in points if one.id == wanted]
        if not matching:
            then = "inv backup.list names them" if points else "inv backup takes one"
            what = f"there is no recovery point {wanted}"
            raise Refused(what, where=self.run.host.name, then=then, slug="point-unknown")
        return matching[0] if matching[0].manifest else self.with_manifest(matching[0])

    def with_manifest(self, point: Point) -> Point:
        """Read what a point holds from the point itself, where the host has no record of it."""
        (manifest,) = documents(self.ask("restic", "dump", "--no-lock", point.id, "/staging/point/manifest.json"))
        line = Evidence(point=point.id, state="taken", time=point.taken, manifest=Manifest.model_validate(manifest))
        return replace(point, evidence=(line, *point.evidence))

    def verify(self, point: str) -> str:
        """Read a point's dump from the repository, all of it; return its checksum."""
        return self.call("verify", point).strip()

    def restore(self, point: str, database: str) -> tuple[Manifest, Manifest]:
        """Restore a point into a new database; return what was dumped, and what is there now."""
        expected, found = self.documents("restore", point, database)
        return Manifest.model_validate(expected), Manifest.model_validate(found)

    def databases(self) -> tuple[str, frozenset[str]]:
        """Return the name of the database that is saved, and those of all that are there."""
        live, *there = self.ask("databases").split("\n")
        return live, frozenset(filter(None, there))

    def swap(self, live: str, kept: str, new: str) -> float:
        """Swap a database with the live one, which is kept under another name; return the seconds that took."""
        return float(self.call("swap", live, kept, new).split()[-1]) / 1000


def documents(printed: str) -> list[dict[str, Any]]:
    """Read what a program printed: JSON, a document a line. Pure."""
    return [json.loads(line) for line in printed.splitlines() if line.startswith(("{", "["))]


def listed(snapshots: Any) -> list[Mapping[str, object]]:
    """Return restic's list of snapshots."""
    return list(snapshots or [])


def repository_of(at: Environment) -> Repository:
    """Find the backup service of the release that serves; raise Refused where there is none."""
    facts = observe_all(at)
    serving = next((own.edge.release for own in facts.values() if own.edge.release), None)
    if not serving:
        what = "nothing is deployed, so there is nothing to save"
        raise Refused(what, where=at.settings.env, then="inv deploy", slug="nothing-runs")
    for run in standing(at, serving, facts).runs:
        for service in run.bundle.release.of("backup"):
            return Repository(run, service)
    then = "add docker/compose.backup.yml to `compose` in deploy/app.toml, then inv deploy"
    what = f"release {serving} has no service with the role backup"
    raise Refused(what, where=at.settings.env, then=then, slug="no-backup-service")
