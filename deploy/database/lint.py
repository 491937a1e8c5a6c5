"""Find what is dangerous in the SQL of one revision: squawk for locks and rewrites, ours for what it takes away."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pglast
from pglast import ast, enums
from pglast.parser import ParseError

from deploy.core.errors import OpsError
from deploy.core.shell import query
from deploy.hosts.local import LocalHost

SQUAWK = Path(sys.executable).parent / "squawk"
# the runner sets the time-outs; what takes something away is judged by `takes-away`; the others are matters of taste
EXCLUDED = (
    "require-timeout-settings", "ban-drop-column", "ban-drop-table", "renaming-column", "renaming-table",
    "ban-char-field", "prefer-bigint-over-int", "prefer-bigint-over-smallint", "prefer-identity", "prefer-robust-stmts",
    "prefer-text-field", "prefer-timestamptz",
)  # fmt: skip
TABLE = "alembic_version"  # Alembic's own
LOST = {enums.AlterTableType.AT_DropColumn: "drops a column", enums.AlterTableType.AT_AlterColumnType: "changes a type",
        enums.AlterTableType.AT_SetNotNull: "forbids NULL"}  # fmt: skip
HARMLESS = {enums.ObjectType.OBJECT_INDEX, enums.ObjectType.OBJECT_TABCONSTRAINT, enums.ObjectType.OBJECT_STATISTIC_EXT}


@dataclass(frozen=True)
class Finding:
    """A rule that a revision breaks, and how."""

    rule: str
    words: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.words}"


def findings(sql: str, fresh: set[str], *, contract: bool) -> list[Finding]:
    """Return what is dangerous in a revision; `fresh` are the tables that pending revisions create, and grows.

    Raises OpsError where the SQL cannot be read, or squawk does not run.
    """
    try:
        statements = [raw.stmt for raw in pglast.parse_sql(sql)]
    except ParseError as error:
        words = f"PostgreSQL's parser does not understand the SQL: {error}"
        raise OpsError(words, slug="revision-unreadable") from None
    own = [*taking(statements, fresh, contract=contract), *mixed(statements, fresh)]
    return list(dict.fromkeys([*squawk(sql), *own]))


def squawk(sql: str) -> list[Finding]:
    """Return what squawk says; raise OpsError where it does not run."""
    words = (str(SQUAWK), "--config=/dev/null", "--reporter=json", f"--exclude={','.join(EXCLUDED)}")
    done = LocalHost().try_run(query(*words), stdin=sql)
    try:
        report = json.loads(done.stdout)
    except ValueError:
        what = f"squawk did not look at the SQL: {done.output or f'exit code {done.returncode}'}"
        raise OpsError(what, slug="revision-unreadable") from None
    return [Finding(one["rule_name"], f"line {one['line'] + 1}: {one['message']}") for one in report]


def taking(statements: list[Any], fresh: set[str], *, contract: bool) -> Iterator[Finding]:
    """Find what takes something away from a table that is not `fresh`, in a revision that does not say so.

    What the revision creates is fresh from there on: not what it drops before, nor what may have been there.
    """
    for statement in statements:
        if isinstance(statement, ast.CreateStmt) and not statement.if_not_exists:
            fresh.add(table(statement))
        for what, name in () if contract else losses(statement):
            if name not in fresh:
                words = (
                    "the release that serves may need it; a revision that takes away says `contract` in its docstring"
                )
                yield Finding("takes-away", f"{what} of {name or 'the database'}: {words}")


def losses(statement: Any) -> Iterator[tuple[str, str]]:
    """Yield what a statement takes away, and from which table."""
    if isinstance(statement, ast.AlterTableStmt):
        for command in statement.cmds or ():
            if command.subtype in LOST:
                yield f"{LOST[command.subtype]}, {command.name},", table(statement)
    if isinstance(statement, ast.RenameStmt) and statement.renameType not in HARMLESS:
        yield f"renames {statement.subname or 'all'} to {statement.newname}", table(statement)
    if isinstance(statement, ast.DropStmt) and statement.removeType not in HARMLESS:
        for dropped in statement.objects or ():
            names = dropped if isinstance(dropped, tuple) else ()
            yield "drops all", ".".join(name.sval for name in names[-2:])
    if isinstance(statement, ast.TruncateStmt):
        yield from (("empties all", qualified(relation)) for relation in statement.relations or ())
    if isinstance(statement, ast.DeleteStmt) and statement.whereClause is None:
        yield "deletes all rows", table(statement)
    if isinstance(statement, ast.AlterObjectSchemaStmt):
        yield "moves to another schema", table(statement) if statement.relation else ""
    if isinstance(statement, ast.DropOwnedStmt):
        yield "drops all that a role owns", ""
    if isinstance(statement, ast.AlterEnumStmt) and statement.oldVal:
        yield f"renames the value {statement.oldVal}", ""


def mixed(statements: list[Any], fresh: set[str]) -> Iterator[Finding]:
    """Find a backfill in the same revision as a change of a table, whose lock is held until the backfill ends."""
    changes = [
        table(node) for node in statements
        if isinstance(node, ast.AlterTableStmt | ast.IndexStmt) and table(node) not in fresh
    ]  # fmt: skip
    for statement in statements:
        if isinstance(statement, ast.DoStmt):
            yield Finding("do-block", "nobody can see what a DO block does; write plain statements")
        written = backfilled(statement)
        if written and written not in fresh | {TABLE} and changes:
            words = f"rows of {written} are written while {changes[0]} is locked; make it two revisions"
            yield Finding("backfill-with-ddl", words)


def backfilled(statement: Any) -> str:
    """Name the table whose rows a statement writes in bulk; empty for any other."""
    insert = isinstance(statement, ast.InsertStmt) and not getattr(statement.selectStmt, "valuesLists", None)
    bulk = isinstance(statement, ast.UpdateStmt | ast.DeleteStmt) or insert
    return table(statement) if bulk else ""


def table(statement: Any) -> str:
    """Name the table that a statement is about, with its schema where that is written; empty where it is about none."""
    return qualified(statement.relation)


def qualified(relation: Any) -> str:
    """Write a table's name as the statement has it."""
    names = (getattr(relation, "schemaname", None), getattr(relation, "relname", None))
    return ".".join(filter(None, names))
