"""The backup service of an environment: each thing that it does is one command in a container of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from deploy.backups import isolated
from deploy.backups.points import SHORT, Evidence, EvidenceFile, Manifest, Place, Point, joined, ordered, read_manifest
from deploy.config import secrets
from deploy.config.environment import Environment
from deploy.config.repositories import sftp_server
from deploy.core.errors import CommandFailed, Locked, OpsError, Refused
from deploy.core.facts import Facts
from deploy.core.model import ReleasedService
from deploy.core.shell import LONG, Command, docker
from deploy.hosts.host import Host
from deploy.site.facts import observe_all
from deploy.site.run import Run, standing_on

TAG = "recovery-point"
# https://restic.readthedocs.io/en/stable/075_scripting.html#exit-codes
NO_REPOSITORY, LOCKED, WRONG_PASSWORD = 10, 11, 12
NO_BACKUPS = "no-backup-repository"
PROGRESS = re.compile(r'\{"message_type":"status"|\[\d+:\d\d')  # how far restic is, in its two forms
ANSWER_SECONDS, TIMED_OUT = 60, 124  # restic alone asks a dead server for a quarter of an hour


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

    @property
    def copier(self) -> str:
        """The name of the one container that copies to or from the off-site repository."""
        return f"{self.container}-offsite"

    @cached_property
    def address(self) -> str:
        """Where points go, as restic writes it."""
        return variable(self.run, self.service, "RESTIC_REPOSITORY")

    @cached_property
    def offsite(self) -> str:
        """Where copies of them go; empty where that is nowhere."""
        return variable(self.run, self.service, "BACKUP_OFFSITE")

    @property
    def leaves_host(self) -> bool:
        """Tell whether points survive the loss of the host."""
        return bool(self.offsite) or isolated.is_remote(self.address)

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

    def ask(self, *words: str, place: Place = "local") -> str:
        """Run a program that changes nothing, also while another works; return what it printed."""
        remote = place == "off-site" or isolated.is_remote(self.address)
        within = ("timeout", str(ANSWER_SECONDS)) if remote else ()
        command = self.in_container(self.service.name, *self.on(place, *within, *words)).as_query()
        return self.finish(words[0], command, place)

    def call(self, *words: str, place: Place = "local") -> str:
        """Run one of docker/backup's programs to its end; return what it printed.

        Raises Locked while a container that an interrupted run left still works, OpsError when the program fails.
        """
        self.require_alone(self.container)
        return self.finish(words[0], self.command(*self.on(place, *words)), place)

    def on(self, place: Place, *words: str) -> tuple[str, ...]:
        """Return the words that run a program on one of the repositories; restic alone knows no keys of ssh. Pure."""
        if place == "off-site":
            return ("on", "offsite", *words)
        return ("on", "here", *words) if sftp_server(self.address) and "restic" in words else words

    def finish(self, program: str, command: Command, place: Place = "local") -> str:
        """Run a command to its end; return what it printed, or raise OpsError in words."""
        done = self.run.host.try_run(command, timeout=LONG)
        if done.returncode:
            failed = CommandFailed(program, done.returncode, self.run.masked(done.output), "")
            raise self.failure(program, failed, self.offsite if place == "off-site" else "")
        return done.stdout

    def require_alone(self, container: str) -> None:
        """Remove the container that a crash of the engine left; raise Locked where one still works."""
        left = self.run.host.engine.inspect(container)
        if left and left.state not in ("created", "exited", "dead"):
            then = f"wait for it: {self.run.host.command_line(f'docker logs --follow {container}')}"
            raise Locked("another backup container works", where=self.run.host.name, then=then)
        if left:
            self.run.host.run(docker("rm", container))

    def failure(self, program: str, error: CommandFailed, address: str = "") -> OpsError:
        """Say in words what restic's exit codes mean; the repository is made by the first backup."""
        where = f"{self.run.host.name}: {address or self.container}"
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
        if error.returncode == TIMED_OUT:
            program = f"no answer within {ANSWER_SECONDS} s: {program}"
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
        return str(summary["snapshot_id"])[:SHORT], read_manifest(manifest)

    def copying(self, snapshot: str, point: str) -> Command:
        """Make the command that copies what the off-site repository lacks, and reads one point back from there."""
        words = ("--name", self.copier, self.service.name, "offsite", self.host_name, TAG, snapshot, point)
        return self.in_container(*words)

    def copy(self, point: Point) -> None:
        """Copy what the off-site repository lacks, `point` above all; remember it once it was read back from there."""
        self.require_alone(self.copier)
        copy = self.finish("offsite", self.copying(point.snapshot, point.id), "off-site").split()[-1]
        self.evidence.prove(point.id, "taken", f"off-site as {copy[:SHORT]}", "off-site")

    def fetched(self, point: Point) -> Point:
        """Return a point that the host's own repository has: one that is off-site alone is copied from there."""
        if "local" in point.copies:
            return point
        self.require_alone(self.copier)
        words = ("--name", self.copier, self.service.name, "fetch", point.copies["off-site"])
        self.finish("fetch", self.in_container(*words), "off-site")
        return next(one for one in self.points() if one.id == point.id)

    def snapshots(self, place: Place) -> list[Mapping[str, object]]:
        """List what a repository has, as restic does; nothing where there is no repository yet."""
        try:
            own = ("--host", self.host_name, "--tag", TAG)
            listed: Any
            (listed,) = documents(self.ask("restic", "snapshots", "--json", "--no-lock", *own, place=place))
        except OpsError as error:
            if error.slug == NO_BACKUPS:
                return []
            raise
        return [*(listed or [])]

    def points(self) -> tuple[Point, ...]:
        """List the recovery points that the host's own repository has, oldest first."""
        return ordered(joined(self.snapshots("local"), self.evidence.lines()), self.run.host)

    def everywhere(self) -> tuple[Point, ...]:
        """List the recovery points of both repositories, oldest first; raise OpsError where one cannot be asked."""
        local = self.snapshots("local")
        far = self.snapshots("off-site") if self.offsite else []
        return ordered(joined(local, self.evidence.lines(), far), self.run.host)

    def point(self, wanted: str) -> Point:
        """Return one recovery point: by its id, or `latest`. Raises Refused when there is none.

        The off-site repository is asked where the host's own does not have it: that one may be out of reach.
        """
        points = self.points()
        if self.offsite and not (wanted == "latest" and points) and wanted not in [one.id for one in points]:
            points = self.everywhere()
        return self.chosen(points, wanted)

    def latest(self) -> Point:
        """Return the newest point of both repositories; raise OpsError where one cannot be asked."""
        return self.chosen(self.everywhere(), "latest")

    def chosen(self, points: Sequence[Point], wanted: str) -> Point:
        """Choose a point by its id, or the newest, and read its manifest; raise Refused when there is none."""
        matching = points[-1:] if wanted == "latest" else [one for one in points if one.id == wanted]
        if not matching:
            then = "inv backup.list names them" if points else "inv backup takes one"
            what = f"there is no recovery point {wanted}"
            raise Refused(what, where=self.run.host.name, then=then, slug="point-unknown")
        return matching[0] if matching[0].manifest else self.with_manifest(matching[0])

    def with_manifest(self, point: Point) -> Point:
        """Read what a point holds from the point itself, where the host has no record of it."""
        place = point.places[0]
        words = ("dump", "--no-lock", point.copies[place], "/staging/point/manifest.json")
        (manifest,) = documents(self.ask("restic", *words, place=place))
        line = Evidence(point=point.id, state="taken", time=point.taken, manifest=read_manifest(manifest))
        return replace(point, evidence=(line, *point.evidence))

    def verify(self, snapshot: str, place: Place = "local") -> str:
        """Read a point's dump from a repository, all of it; return its checksum."""
        return self.call("verify", snapshot, place=place).strip()

    def restore(self, snapshot: str, database: str) -> tuple[Manifest, Manifest]:
        """Restore a point into a new database; return what was dumped, and what is there now."""
        expected, found = self.documents("restore", snapshot, database)
        return read_manifest(expected), read_manifest(found)

    def forget(self) -> None:
        """Remove what a restore alone needed: nothing, where a repository has it."""

    def restore_volume(self, point: Point, folder: str, volume: str) -> None:
        """Restore what a point holds of a folder into a volume, with the owner of the folder; what is new there stays.

        Into an empty volume an account that is not root could write nothing else: restic gives back the owner of
        what it restores, and not of where it restores to.
        """
        parent, _, name = folder.rpartition("/")
        self.restore_folder(point, parent or "/", volume, f"--include=/{name}", at=f"/restored/{name}")

    def restore_folder(self, point: Point, folder: str, source: str, *options: str, at: str = "/restored") -> None:
        """Restore what a point holds of a folder into a folder of the host, or what is mounted `at`.

        `options` are restic's, which say what of it.
        """
        self.require_alone(self.container)
        words = ("restic", "restore", "--quiet", f"{point.snapshot}:{folder}", "--target", "/restored", *options)
        mounted = ("--name", self.container, "--volume", f"{source}:{at}")
        self.finish("restic restore", self.in_container(*mounted, self.service.name, *self.on("local", *words)))

    def databases(self) -> tuple[str, frozenset[str]]:
        """Return the name of the database that is saved, and those of all that are there."""
        live, *there = self.ask("databases").split("\n")
        return live, frozenset(filter(None, there))

    def swap(self, live: str, kept: str, new: str) -> float:
        """Swap a database with the live one, which is kept under another name; return the seconds that took."""
        return float(self.call("swap", live, kept, new).split()[-1]) / 1000


def documents(printed: str) -> list[dict[str, Any]]:
    """Read what a program printed: JSON, a document a line.

    How far restic is does not count: with RESTIC_PROGRESS_FPS, which images of ours once set, it says so with --quiet
    too. Pure.
    """
    lines = [line for line in printed.splitlines() if line.startswith(("{", "["))]
    return [json.loads(line) for line in lines if not PROGRESS.match(line)]


def variable(run: Run, service: ReleasedService, name: str) -> str:
    """Return a variable of a shared service, by its compose file or the release's secrets."""
    declared = isolated.environment(run.bundle.files.get("shared.yml", ""), service.name)
    return declared.get(name) or secrets.rendered(run.bundle.env).get(name, "")


def repository_of(at: Environment) -> Repository:
    """Find the backup service of the release that serves; raise Refused where there is none."""
    facts = observe_all(at)
    serving = next((own.edge.release for own in facts.values() if own.edge.release), None)
    if not serving:
        what = "nothing is deployed, so there is nothing to save"
        raise Refused(what, where=at.settings.env, serves="nothing", then="inv deploy", slug="nothing-runs")
    for run in filter(None, at.each(lambda host: standing_run(at, host, serving, facts[host.name])).values()):
        for service in run.bundle.release.of("backup"):
            return Repository(run, service)
    then = "add docker/compose.backup.yml to `compose` in deploy/app.toml, then inv deploy"
    what = f"release {serving} has no service with the role backup"
    raise Refused(what, where=at.settings.env, then=then, slug="no-backup-service")


def standing_run(at: Environment, host: Host, release: str, facts: Facts) -> Run | None:
    """Return the run of a release on one host; None where the host came later, and has nothing of it yet."""
    try:
        return standing_on(at, host, release, facts)
    except Refused:
        if facts.edge.release:
            raise
        return None
