"""Restore a recovery point: beside the live database, checked there, then swapped with it in one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from deploy.backups.health import AskApp, clear
from deploy.backups.points import Point, room_needed
from deploy.backups.repository import Repository, repository_of
from deploy.backups.steps import CheckRestored, Names, RecordSchema, RestoreBeside, RestoreRun, SwapDatabases
from deploy.backups.uploaded import DUMP, UploadedDump
from deploy.config.environment import Environment
from deploy.core.errors import GateClosed, Interrupted, OpsError, Refused
from deploy.core.model import Schema
from deploy.site.facts import naming_what_serves
from deploy.site.interrupted import Handler, interruptions
from deploy.site.locked import locked
from deploy.site.runner import execute
from deploy.site.step import Step
from deploy.state import locks
from deploy.state.folder import now
from deploy.state.store import state_of

COMMAND = "restore"


@dataclass(frozen=True)
class Restored:
    """A point that serves now, and the database that was swapped out."""

    point: Point
    kept: str


@dataclass(frozen=True)
class Aborted:
    """The database that serves again, and what the one is called that served meanwhile; empty where none did."""

    live: str
    kept: str


def restore(at: Environment, wanted: str, *, older_schema: bool = False, ask: bool = True) -> Restored:
    """Put a recovery point into service; writers stop for the moment of the swap, and the database before is kept.

    With `older_schema` also one whose schema is not that of the release which serves: it may fail until another does,
    and is not asked. With `ask` its web service must be healthy on what was restored, before the swap.
    """
    with naming_what_serves(at), locked(at, COMMAND):
        require_nothing_interrupted(at)
        repository = repository_of(at)
        with dump_lock(at, repository):
            point = repository.fetched(repository.point(wanted))
            live, _ = repository.databases()
            require_room(repository, point)
            require_fitting(repository, point, older_schema=older_schema)
            schema = repository.run.state.schema()
            names = Names.at(live, now(), point.id)
            before = schema.model_dump_json() if schema else ""
            asked = ask and not older_schema
            return apply(RestoreRun(repository, point.id, names, before, point.snapshot, asked), point)


def apply(run: RestoreRun, point: Point) -> Restored:
    """Perform what is left of a restore.

    Of one that fails before the swap nothing is left but the journal's lines; after it people may have written into
    what serves, and `inv resume` goes on.
    """
    _, there = run.repository.databases()
    run.note(command=COMMAND, state="begin", target=point.id, details=run.details)
    try:
        execute(run, steps(point, run.names, there, ask=run.ask))
    except OpsError as error:
        if isinstance(error, Interrupted):
            raise
        revert_failed(run, error)
        run.note(command=COMMAND, state="failed", target=point.id, error=error.what)
        run.repository.forget()
        raise
    run.note(command=COMMAND, state="done", target=point.id)
    run.repository.forget()
    return Restored(point, run.names.kept)


def revert_failed(run: RestoreRun, error: OpsError) -> None:
    """Drop what a restore left that failed; raise Interrupted where it was swapped, or the database does not answer."""
    swapped = False
    try:
        swapped = run.names.kept in run.repository.databases()[1]
        if not swapped:
            revert(run)
    except OpsError as dead:
        what = f"{error.what}\n    and the database that it made could not be dropped: {dead.what}"
        then = "once the database answers, inv resume goes on, inv abort goes back"
        raise Interrupted(what, where=error.where, then=then) from error
    if swapped:
        what = f"the databases were swapped, and then: {error.what}"
        raise Interrupted(what, where=error.where, then="inv resume") from error


def steps(point: Point, names: Names, there: frozenset[str], *, ask: bool = True) -> list[Step[RestoreRun]]:
    """Return what is left to do where these databases are there. Pure."""
    revision = point.manifest.revision if point.manifest else None
    record: list[Step[RestoreRun]] = [RecordSchema(revision)] if revision else []
    if names.kept in there:
        return record
    app = [AskApp(names.new)] if ask else []
    return [RestoreBeside(names.new), CheckRestored(names.new), *app, SwapDatabases(names), *record]


def revert(run: RestoreRun) -> str:
    """Bring the database back that was live before; return what the one is called that was live meanwhile, if any was.

    That one is kept: people may have written into it. What was restored and never live is dropped.
    """
    _, there = run.repository.databases()
    if run.names.kept not in there:
        run.repository.call("drop", run.names.new)
        return ""
    aborted = run.names.kept.replace("_before_", "_aborted_")
    run.repository.swap(run.names.live, aborted, run.names.kept)
    if run.schema:
        run.state.keep_schema(Schema.model_validate_json(run.schema))
    return aborted


def require_nothing_interrupted(at: Environment) -> None:
    """Raise Interrupted where some command was interrupted: which data the site should have is not clear then."""
    for one in interruptions(at).values():
        raise Interrupted(
            str(one), where=one.hosts, then="inv resume goes on, inv abort goes back; then inv backup.restore"
        )


def require_room(repository: Repository, point: Point) -> None:
    """Refuse where the dump, the database that is made of it and its WAL do not fit: the live one is on that disk."""
    host = repository.run.host
    folder: Path = host.engine.folder()
    database = point.manifest.bytes if point.manifest else 2 * point.bytes
    received = any(repository.run.bundle.release.of("wal"))
    needed, free = room_needed(point.bytes, database, received=received), host.free_bytes(folder)
    if free < needed:
        words = f"{free / 1e9:.1f} GB are free, and a restore beside the live database takes {needed / 1e9:.1f} GB"
        raise Refused(
            words,
            where=f"{host.name}: {folder}",
            then="inv disk shows what takes the room; inv prune",
            slug="disk-full",
        )


def require_fitting(repository: Repository, point: Point, *, older_schema: bool) -> None:
    """Raise GateClosed where the release that serves does not fit the schema of the point."""
    now, then = repository.run.state.schema(), point.manifest
    if older_schema or not (now and then and then.revision) or then.revision == now.revision:
        return
    words = f"the point's schema is {then.revision}, and release {repository.run.release.id} serves on {now.revision}"
    take = f"inv rollback --to={point.release}, where the schema allows it; " if point.release else ""
    again = f"{take}or inv backup.restore {point.id} --older-schema, then inv migrate"
    raise GateClosed(words, where=repository.run.host.name, then=again, slug="schema-does-not-fit")


def dump_lock(at: Environment, repository: Repository) -> Any:
    """Hold the lock that backups hold: none is taken while databases change places."""
    return locks.held([repository.run.host], at.settings.state_dir, COMMAND, name="dump")


def interrupted_run(at: Environment) -> RestoreRun:
    """Return the restore that was interrupted, as its journal has it."""
    repository = repository_of(at)
    begun = state_of(at, repository.run.host).interruptions()
    cut = next(one for one in begun if one.command == COMMAND)
    details = {key: str(value) for key, value in cut.details.items()}
    names = Names(details["live"], details["kept"], details["new"])
    ask = bool(details.get("ask", "yes"))
    repository = UploadedDump.of(repository, whole=ask) if cut.target.startswith(DUMP) else repository
    clear(repository.run)
    return RestoreRun(repository, cut.target, names, details.get("schema", ""), ask=ask)


def resume(at: Environment) -> Restored:
    """Go on with an interrupted restore; what was half restored beside the live database is restored again."""
    with naming_what_serves(at), locked(at, f"resume of {COMMAND}"):
        run = interrupted_run(at)
        with dump_lock(at, run.repository):
            point = run.repository.fetched(run.repository.point(run.point))
            return apply(replace(run, snapshot=point.snapshot), point)


def abort(at: Environment) -> Aborted:
    """Go back from an interrupted restore to the database that was live before; the repository is not needed for it."""
    with naming_what_serves(at), locked(at, f"abort of {COMMAND}"):
        run = interrupted_run(at)
        with dump_lock(at, run.repository):
            aborted = revert(run)
        run.note(command=COMMAND, state="aborted", target=run.point)
        run.repository.forget()
        return Aborted(run.names.live, aborted)


def handlers(show: Mapping[str, Any]) -> dict[str, Handler]:
    """Say who goes on with an interrupted restore, and how the outcome is shown."""
    return {
        COMMAND: Handler(
            lambda at, json: show["restored"](resume(at), json=json),
            lambda at, json: show["aborted"](abort(at), json=json),
        )
    }
