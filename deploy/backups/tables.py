"""Bring the rows of one table back from a recovery point, beside the live ones: nothing is overwritten."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from deploy.backups.points import LONGEST_NAME, Point
from deploy.backups.repository import Repository, repository_of
from deploy.backups.restore import dump_lock, require_nothing_interrupted, require_room
from deploy.backups.steps import digits
from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused
from deploy.site.facts import naming_what_serves
from deploy.state.folder import now

# a name of SQL as `format('%I')` writes it: in quotes where it needs them
IDENTIFIER = r'"(?:[^"]|"")+"|[^".]+'


@dataclass(frozen=True)
class RestoredTable:
    """A table of a point whose rows are in a schema of their own now."""

    table: str
    point: Point
    schema: str
    rows: int

    @property
    def document(self) -> dict[str, object]:
        """The same for programs."""
        own = {"table": self.table, "schema": self.schema, "rows": self.rows}
        return {"id": self.point.id, "taken": self.point.taken, **own}


def restore_table(at: Environment, wanted: str, name: str) -> RestoredTable:
    """Copy the rows of one table of a point into the schema `restored_<time>` of the live database.

    Raises Refused for a table that the point does not hold, before anything is made.
    """
    with naming_what_serves(at):
        require_nothing_interrupted(at)
        repository = repository_of(at)
        with dump_lock(at, repository):
            point = repository.point(wanted)
            rows = point.manifest.rows if point.manifest else {}
            table = matching(rows, name, point.id, repository.run.host.name)
            point = repository.fetched(point)
            require_room(repository, point)
            schema = f"restored_{digits(now())}"
            with console.step(f"copy {table} of {point.id} into the schema {schema}"):
                copy(repository, point, table, rows[table], schema)
        return RestoredTable(table, point, schema, rows[table])


def copy(repository: Repository, point: Point, table: str, rows: int, schema: str) -> None:
    """Copy a table by way of a database of its own, which goes."""
    live, _ = repository.databases()
    scratch = f"{live[:LONGEST_NAME]}_table_{point.id}"
    repository.call("table", point.snapshot, *plain(table), str(rows), scratch, schema)


def matching(tables: Iterable[str], name: str, point: str, host: str) -> str:
    """Return the one table of a point that a person named, with its schema or without. Pure.

    Raises Refused where there is none, or several.
    """
    by_name = {table: {table, ".".join(plain(table)), plain(table)[1]} for table in tables}
    exact = [table for table, names in by_name.items() if name in (table, ".".join(plain(table)))]
    found = exact or [table for table, names in by_name.items() if name in names]
    if len(found) == 1:
        return found[0]
    what = f"recovery point {point} holds {len(found) or 'no'} table{'s' if found else ''} {name}"
    then = f"--table with one of: {', '.join(sorted(found or by_name)) or '(it holds none)'}"
    raise Refused(what, where=host, then=then, slug="table-unknown")


def plain(table: str) -> tuple[str, str]:
    """Return schema and name of a table without the quotes of SQL. Pure."""
    schema, name = re.findall(IDENTIFIER, table)
    return unquoted(schema), unquoted(name)


def unquoted(name: str) -> str:
    """Return a name without the quotes of SQL. Pure."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
