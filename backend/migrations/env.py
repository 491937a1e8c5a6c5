"""Migrate the database that DATABASE_URL names; README.md says what a revision may do."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from logging.config import fileConfig

from alembic import context
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from bookreader.models import Base

ONE_AT_A_TIME = 7_314_159  # any number that nothing else locks in this database
# A revision that waits for a lock makes every reader behind it wait too: give up early, the caller retries.
MIGRATION = os.environ.get("PGOPTIONS") or "-c lock_timeout=2s -c statement_timeout=60s"
TURN = "-c lock_timeout=60s"


def main() -> None:
    """Migrate, or print the SQL when asked for it."""
    if context.config.config_file_name:
        fileConfig(context.config.config_file_name, disable_existing_loggers=False)
    if context.is_offline_mode():
        render()
    else:
        migrate()


def render() -> None:
    """Print the SQL of the revisions; no database is needed."""
    context.configure(dialect_name="postgresql", target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def migrate() -> None:
    """Run each revision in a transaction of its own, while no other migration runs."""
    with turn(), engine(MIGRATION).connect() as connection:
        context.configure(
            connection=connection, target_metadata=Base.metadata, transaction_per_migration=True
        )
        with context.begin_transaction():
            context.run_migrations()


@contextmanager
def turn() -> Iterator[None]:
    """Hold an advisory lock on a connection apart; on the migration's own it breaks autocommit_block()."""
    with engine(TURN).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ONE_AT_A_TIME})
        yield  # closing the connection lets the lock go, whatever happened


def engine(options: str) -> Engine:
    """Connect with server options of its own, without a pool."""
    url = os.environ.get("DATABASE_URL")
    if not url:
        raise SystemExit("migrations: the environment variable DATABASE_URL is missing")
    return create_engine(url, poolclass=NullPool, connect_args={"options": options, "connect_timeout": 10})


main()
