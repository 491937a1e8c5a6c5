"""Restore a dump that pg_dump made on another host, by the steps that restore a recovery point."""

from __future__ import annotations

import hashlib
from pathlib import Path

from deploy.backups import restore
from deploy.backups.points import Point
from deploy.backups.repository import repository_of
from deploy.backups.steps import Names, RestoreRun
from deploy.backups.uploaded import DUMP, THEN, UploadedDump
from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import GateClosed, Refused
from deploy.site.facts import naming_what_serves
from deploy.site.locked import locked
from deploy.state.folder import now

MAGIC = b"PGDMP"  # of pg_dump's custom format: src/bin/pg_dump/pg_backup_archiver.c
# what others begin with, and what they are
OTHERS = {b"--": "plain SQL", b"\x1f\x8b": "compressed by gzip", b"toc.dat": "of tar's format"}
ROOM = 2  # a dump is compressed: it and the database that is made of it take six times its size, by and large


def restore_dump(at: Environment, file: str, *, older_schema: bool = False, ask: bool = True) -> restore.Restored:
    """Put a dump of another host into service, as a recovery point is; the database before is kept.

    Raises Refused for what is no dump of the custom format, is not whole, or is of a newer server, before anything is
    made; GateClosed where the release that serves needs another schema, unless `older_schema`.
    """
    path = Path(file)
    require_dump(path, begin(path))
    with naming_what_serves(at), locked(at, restore.COMMAND):
        restore.require_nothing_interrupted(at)
        uploaded = UploadedDump.of(repository_of(at), whole=not older_schema)
        with restore.dump_lock(at, uploaded):
            point = uploaded_point(uploaded, path)
            require_schema(uploaded, path, point, older_schema=older_schema)
            live, _ = uploaded.databases()
            schema = uploaded.run.state.schema()
            before = schema.model_dump_json() if schema else ""
            names = Names.at(live, now(), point.id)
            asked = ask and not older_schema
            return restore.apply(RestoreRun(uploaded, point.id, names, before, point.id, asked), point)


def uploaded_point(uploaded: UploadedDump, path: Path) -> Point:
    """Bring a dump to the host, and return what stands for its recovery point."""
    name = DUMP + digest(path)
    restore.require_room(uploaded, Point(name, now(), ROOM * path.stat().st_size))
    with console.step(f"bring {path} to {uploaded.run.host.name}, and read all of it there"):
        uploaded.upload(path, name)
    point = uploaded.point(name)
    require_version(path, point, uploaded)
    return point


def begin(path: Path) -> bytes:
    """Return a file's first bytes; raise Refused where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(16)
    except OSError as error:
        what = f"{path} cannot be read: {error.strerror}"
        raise Refused(what, where="this machine", then="name another FILE", slug="no-dump") from None


def digest(path: Path) -> str:
    """Return what a dump is called by: the begin of its SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:8]


def require_dump(path: Path, beginning: bytes) -> None:
    """Refuse what pg_dump did not make in its custom format. Pure."""
    if beginning.startswith(MAGIC):
        return
    kind = next((words for magic, words in OTHERS.items() if beginning.startswith(magic)), "none of pg_dump's")
    what = f"{path} is no dump of the custom format: it is {'empty' if not beginning else kind}"
    raise Refused(what, where="this machine", then=THEN, slug="no-dump")


def require_version(path: Path, point: Point, uploaded: UploadedDump) -> None:
    """Refuse a dump of a server that is newer than the live one: what it holds may not exist here."""
    theirs, own = (point.manifest.server if point.manifest else 0) // 10_000, uploaded.server()
    if theirs > own:
        what = f"{path} is of PostgreSQL {theirs}, and the database here of {own}"
        raise Refused(what, where=uploaded.run.host.name, then=f"a dump of PostgreSQL {own} or older", slug="no-dump")


def require_schema(uploaded: UploadedDump, path: Path, point: Point, *, older_schema: bool) -> None:
    """Raise GateClosed where the release that serves does not fit the schema of the dump, or it has none."""
    schema, own = uploaded.run.state.schema(), point.manifest.revision if point.manifest else None
    if older_schema or not (schema and schema.revision) or own == schema.revision:
        return
    release = uploaded.run.release.id
    has = f"schema {own}" if own else "no schema revision"
    what = f"{path} has {has}, and release {release} serves on {schema.revision}"
    then = f"inv backup.restore --from={path} --older-schema, then inv migrate"
    raise GateClosed(what, where=uploaded.run.host.name, then=then, slug="schema-does-not-fit")
