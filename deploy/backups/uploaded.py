"""A dump of another host in the staging volume of the backup service."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.backups.points import Evidence, Manifest, Point, read_manifest
from deploy.backups.repository import Repository, documents
from deploy.core.errors import CommandFailed, GateClosed, Refused

DUMP = "dump_"  # begins what stands for a recovery point's id: none of restic's has it
THEN = "pg_dump --format=custom --file=FILE DATABASE makes one; then inv backup.restore --from=FILE"
# what docker/backup/header prints
HEADER = {
    "bytes": r"^bytes: (\d+)$",
    "taken": r"^; Archive created at ([0-9-]+ [0-9:]+)",
    "server": r"^; +Dumped from database version: (\d+)",
    "database": r"^; +dbname: (.*)$",
    "revision": r"^COPY \S*alembic_version \S+ FROM stdin;\n([^\n\\]+)$",
}


@dataclass(frozen=True)
class UploadedDump(Repository):
    """The backup service with a dump of another host in its staging volume, which it restores in place of a point.

    A `whole` one must have every table that the live database has, but for those of `--table`.
    """

    whole: bool = True

    @classmethod
    def of(cls, repository: Repository, *, whole: bool = True) -> UploadedDump:
        """Return the same service with what it uploaded."""
        return cls(repository.run, repository.service, whole)

    def point(self, wanted: str) -> Point:
        """Return what stands for a recovery point: what the dump says of itself."""
        return described(wanted, self.ask("header", wanted))

    def fetched(self, point: Point) -> Point:
        """Return it: there is no other place."""
        return point

    def restore(self, snapshot: str, database: str) -> tuple[Manifest, Manifest]:
        """Restore the dump into a new database; what is there then stands for the manifest, since a dump has none.

        Raises GateClosed for one that lacks tables of the live database: nobody could tell that from its rows.
        """
        live, found = map(read_manifest, documents(self.call("import", snapshot, database)))
        if self.whole and (lacking := lost(live.rows, found.rows)):
            what = f"the dump lacks tables that the live database has: {', '.join(lacking)}"
            then = "a dump of the whole database; --older-schema puts this one into service all the same"
            raise GateClosed(what, where=f"{self.run.host.name}: {database}", then=then, slug="restored-data-differs")
        return found, found

    def upload(self, file: Path, name: str) -> None:
        """Bring a dump to the host, and read it whole there; raise Refused where that cannot be done."""
        self.require_alone(self.container)
        words = ("--name", self.container, self.service.name, "upload", name)
        try:
            with file.open("rb") as source, self.run.host.stream(self.in_container(*words), stdin_open=True) as process:
                assert process.stdin  # noqa: S101  # it was opened with stdin_open
                shutil.copyfileobj(source, process.stdin, 1 << 20)
        except CommandFailed as error:
            what = f"{file} cannot be restored here: {self.run.masked(error.output)}"
            raise Refused(what, where=self.run.host.name, then=THEN, slug="no-dump") from None

    def server(self) -> int:
        """Return the major version of the live server."""
        words = ("psql", "--no-psqlrc", "-qtA", "--command=SHOW server_version_num")
        return int(self.ask("on", "here", *words)) // 10_000

    def forget(self) -> None:
        """Remove what was uploaded."""
        self.call("rm", "-rf", "/staging/uploaded")


def lost(live: Iterable[str], found: Collection[str]) -> list[str]:
    """Name the tables of the live database that a dump lacks, but for those that --table has brought. Pure."""
    return sorted(table for table in live if table not in found and not re.match(r"restored_\d{14}\.", table))


def described(name: str, text: str) -> Point:
    """Read what a dump says of itself, as docker/backup/header prints it. Pure."""
    read = {key: re.search(pattern, text, re.MULTILINE) for key, pattern in HEADER.items()}
    values = {key: match[1] for key, match in read.items() if match}
    size = int(values["bytes"])
    taken = datetime.fromisoformat(values["taken"]).replace(tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    manifest = Manifest(
        taken=taken, server=int(values["server"]) * 10_000, database=values["database"], bytes=size,
        revision=values.get("revision"),
    )  # fmt: skip
    evidence = Evidence(point=name, state="taken", time=taken, manifest=manifest)
    return Point(name, taken, size, (evidence,), copies={"local": name})
