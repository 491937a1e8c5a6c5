"""Open sessions, and tell whether the schema fits this code.

Alembic is not imported: it would take a fifth of the time until the server answers.
"""

import re
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

from bookreader.settings import settings

MIGRATIONS = Path(__file__).parent.parent / "migrations" / "versions"
NAME = re.compile(r"""^revision = ["'](.+)["']""", re.MULTILINE)
PARENTS = re.compile(r"^down_revision = (.+)", re.MULTILINE)

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
    files = [file.read_text() for file in MIGRATIONS.glob("*.py")]
    known = frozenset(name for file in files for name in NAME.findall(file))
    parents = {name for file in files for line in PARENTS.findall(file) for name in re.findall(r"\w+", line)}
    [head] = known - parents
    return head, known


def check_database() -> None:
    """Reach the database, or raise."""
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))


def check_schema() -> None:
    """Accept this code's head, or a revision newer than this code; the deploy tool judges the latter."""
    head, known = revisions()
    with engine.connect() as connection:
        there = connection.scalar(text("SELECT to_regclass('alembic_version')"))
        current = connection.scalar(text("SELECT version_num FROM alembic_version")) if there else None
    if current is None:
        raise SchemaMismatch(f"there is no schema, this release needs {head}")
    if current in known and current != head:
        raise SchemaMismatch(f"the schema is at {current}, this release needs {head}")
