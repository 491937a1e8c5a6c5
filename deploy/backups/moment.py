"""Bring the database back as it was at a moment: recovered beside, made a recovery point, restored as any other."""

from __future__ import annotations

from datetime import UTC, datetime

from deploy.backups import wal
from deploy.backups.points import SHORT, Evidence, Manifest
from deploy.backups.repository import TAG, Repository, repository_of
from deploy.backups.restore import Restored, require_nothing_interrupted, restore
from deploy.backups.take import backup
from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Interrupted, OpsError, Refused, acting
from deploy.site.facts import naming_what_serves
from deploy.state import locks
from deploy.state.folder import now


def restore_moment(at: Environment, text: str, *, older_schema: bool = False, ask: bool = True) -> Restored:
    """Put the database of a moment into service; the one before is kept, and a backup follows at once.

    Raises Refused, before anything is made, where nothing receives WAL and where the moment is not held.
    """
    asked = wal.asked_for(text)
    with naming_what_serves(at):
        require_nothing_interrupted(at)
        repository = repository_of(at)
        with locks.held([repository.run.host], at.settings.state_dir, "backup.restore", name="dump"):
            point = recover(repository, asked)
        restored = restore(at, point, older_schema=older_schema, ask=ask)
        back_up(at)
        return restored


def recover(repository: Repository, asked: wal.Asked) -> str:
    """Make a recovery point of the database at a moment, from a base backup and the WAL; return its id.

    It stands in the list at that moment, with the files and records of now.
    """
    service, container = receiver(repository), f"{repository.run.settings.name}-recovery"
    chosen = wal.choose(held(repository), asked, repository.run.host.name)
    repository.require_alone(container)
    words = ("recover", chosen.stretch, chosen.base, chosen.target)
    with console.step(f"recover the database of {chosen.words} from base backup {chosen.base}"):
        printed = repository.finish("recover", repository.in_container("--name", container, service, *words))
    time = asked.moment or datetime.fromisoformat(
        printed.splitlines()[0]
    )  # empty where the base backup is all there is
    with console.step("save it as a recovery point, read the manifest back"):
        manifest, summary = repository.documents("take", repository.host_name, TAG, as_of(time))
    point, detail = str(summary["snapshot_id"])[:SHORT], f"as of {wal.written(time)}, recovered from WAL"
    line = Evidence(point=point, state="taken", time=now(), detail=detail, manifest=Manifest.model_validate(manifest))
    repository.evidence.add(line)
    return point


def held(repository: Repository) -> tuple[wal.Stretch, ...]:
    """Return what was received, oldest first."""
    return wal.read(repository.finish("held", repository.in_container(receiver(repository), "held").as_query()))


def receiver(repository: Repository) -> str:
    """Name the service that receives WAL; raise Refused where the release has none."""
    for service in repository.run.bundle.release.of("wal"):
        return service.name
    then = "add docker/compose.wal.yml to `compose`, then inv deploy; inv backup.list names the recovery points"
    what = f"release {repository.run.release.id} receives no WAL: no service has the role wal"
    raise Refused(what, where=repository.run.host.name, then=then, slug="no-wal")


def as_of(moment: datetime) -> str:
    """Write a time as restic takes it: UTC, without fractions. Pure."""
    return moment.astimezone(UTC).strftime("%F %T")


def back_up(at: Environment) -> None:
    """Take a backup of what serves now; one that fails does not undo the restore."""
    try:
        backup(at)
    except Interrupted:
        raise
    except OpsError as error:
        console.warn(acting(f"the database was restored; the backup after it: {error.what}", at.settings.env))
