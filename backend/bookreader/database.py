"""Open sessions, and tell whether the schema fits this code."""

from functools import cache
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

from bookreader.settings import settings

MIGRATIONS = Path(__file__).parent.parent / "migrations"

# Two colours with two processes each stay below PostgreSQL's default of 100 connections.
engine = create_engine(
    settings().database_url,
    pool_size=8,
    max_overflow=4,
    pool_timeout=10,
    pool_pre_ping=True,
    connect_args={"connect_timeout": 3, "application_name": "bookreader"},
)
sessions = sessionmaker(engine, expire_on_commit=False)


class SchemaMismatch(Exception):  # noqa: N818  # it is a fact before it is an error
    """Say that the database lacks a revision that this code needs."""


@cache
def revisions() -> tuple[str, frozenset[str]]:
    """Return this code's head and every revision it knows."""
    script = ScriptDirectory(str(MIGRATIONS))
    return script.get_current_head() or "", frozenset(step.revision for step in script.walk_revisions())


def check_database() -> None:
    """Reach the database, or raise."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def check_schema() -> None:
    """Accept this code's head, or a revision newer than this code; the deploy tool judges the latter."""
    head, known = revisions()
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    if current is None:
        raise SchemaMismatch(f"there is no schema, this release needs {head}")
    if current in known and current != head:
        raise SchemaMismatch(f"the schema is at {current}, this release needs {head}")
