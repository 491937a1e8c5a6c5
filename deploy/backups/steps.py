"""What restoring a recovery point consists of, step by step."""

from __future__ import annotations

from dataclasses import dataclass

from deploy.backups.points import LONGEST_NAME, differences
from deploy.backups.repository import Repository
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import GateClosed
from deploy.core.model import Schema
from deploy.core.shell import LONG
from deploy.site.step import Step
from deploy.state.store import State


@dataclass(frozen=True)
class Names:
    """The database that serves, what it is called once it was swapped out, and the one that takes its place."""

    live: str
    kept: str
    new: str

    @classmethod
    def at(cls, live: str, started: str, point: str) -> Names:
        """Name the databases of one restore, by when it was begun. Pure."""
        time = digits(started)
        return cls(live, f"{live[:LONGEST_NAME]}_before_{time}", f"{live[:LONGEST_NAME]}_restored_{point}")


def digits(time: str) -> str:
    """Write a time so that it can stand in a name. Pure."""
    return "".join(letter for letter in time if letter.isdigit())


@dataclass(frozen=True)
class RestoreRun:
    """One restore on the host that has the data."""

    repository: Repository
    point: str
    names: Names
    schema: str = ""  # what the host remembered of the schema before, as JSON
    snapshot: str = ""  # what the repository of the host calls the point
    ask: bool = True  # the app's own health on it, before the swap

    @property
    def settings(self) -> Settings:
        """The environment's settings."""
        return self.repository.run.settings

    @property
    def target(self) -> str:
        """The recovery point."""
        return self.point

    @property
    def details(self) -> dict[str, str]:
        """What the journal keeps of it, so that it can be gone on with."""
        return {**vars(self.names), "schema": self.schema, "ask": "yes" if self.ask else ""}

    @property
    def state(self) -> State:
        """What the host remembers of the environment."""
        return self.repository.run.state

    def note(self, **facts: object) -> None:
        """Add a line to the journal."""
        self.state.note(**facts)


@dataclass(frozen=True)
class RestoreBeside(Step[RestoreRun]):
    """Restore the dump into a new database, and compare it with the manifest of the point."""

    database: str

    def __str__(self) -> str:
        return f"restore into {self.database}, beside the live database; compare it with the manifest"

    def limit(self, settings: Settings) -> float:  # noqa: ARG002  # as long as it takes
        return LONG

    def perform(self, run: RestoreRun) -> str:
        expected, found = run.repository.restore(run.snapshot or run.point, self.database)
        if differing := differences(expected, found):
            words = "\n    ".join(["what was restored is not what was dumped:", *differing])
            raise GateClosed(words, where=self.database, then="inv backup.list names other points",
                             slug="restored-data-differs")  # fmt: skip
        return f"{sum(found.rows.values())} rows in {len(found.rows)} tables"


@dataclass(frozen=True)
class CheckRestored(Step[RestoreRun]):
    """Read every table and index of the new database for damage."""

    database: str

    def __str__(self) -> str:
        return f"check the tables and indexes of {self.database} (amcheck)"

    def limit(self, settings: Settings) -> float:  # noqa: ARG002  # as long as it takes
        return LONG

    def perform(self, run: RestoreRun) -> str:
        if "skipped" in run.repository.call("amcheck", self.database):
            console.warn("its tables were not checked for damage: only a superuser may; the rows were counted")
            return "skipped"
        return ""


@dataclass(frozen=True)
class SwapDatabases(Step[RestoreRun]):
    """Let the new database take the live one's name, in one transaction; the old one is kept."""

    names: Names

    def __str__(self) -> str:
        return f"swap: {self.names.live} becomes {self.names.kept}, {self.names.new} becomes {self.names.live}"

    def perform(self, run: RestoreRun) -> str:
        seconds = run.repository.swap(self.names.live, self.names.kept, self.names.new)
        return f"nobody could write for {seconds:.2f} s"


@dataclass(frozen=True)
class RecordSchema(Step[RestoreRun]):
    """Remember the schema of what was restored: rollbacks are judged by it."""

    revision: str

    def __str__(self) -> str:
        return f"remember that the schema is {self.revision}"

    def perform(self, run: RestoreRun) -> None:
        before = run.state.schema()
        if before is None or before.revision != self.revision:
            only = Schema(revision=self.revision, serves=(self.revision,), release=run.repository.run.release.id)
            run.state.keep_schema(only)
