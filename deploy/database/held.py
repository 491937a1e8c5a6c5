"""Which tables a migration locks so that others wait, and for how long, seen from a second session."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

from deploy.core.shell import query
from deploy.database.postgres import SCRIPT, Database

INTERVAL = 0.1  # seconds between two looks
LONGEST = 900  # seconds that it looks at most
MARK, WATCHER = "lock", "inv-locks"
# https://www.postgresql.org/docs/current/explicit-locking.html: these keep out whoever writes, the first also who reads
MODES = ("AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock")
# a table that the migration itself makes is in nobody else's pg_class: it keeps nobody out
SQL = (
    f"SELECT '{MARK}', c.oid::regclass, l.mode, extract(epoch FROM clock_timestamp()) "  # noqa: S608  # our own names
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation "
    "WHERE a.application_name = 'NAME' AND a.datname = current_database() AND l.granted "
    f"AND c.relkind IN ('r', 'p') AND l.mode IN {MODES}"
)
WATCH = SCRIPT.partition("exec psql")[0] + (
    f"""printf '%s \\\\watch {INTERVAL}\\n' "$0" | timeout {LONGEST} psql --no-psqlrc --no-align --tuples-only """
    """--dbname="${POSTGRES_DB:-$PGUSER}" """
)
STOP = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{WATCHER}'"  # noqa: S608


@dataclass(frozen=True)
class Held:
    """A lock on a table, and how many seconds it was held, give or take a look."""

    table: str
    mode: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.mode} on {self.table} for {self.seconds:.1f} s"


@contextmanager
def watched(database: Database, application: str) -> Iterator[list[Held]]:
    """Look at an application's locks until the block ends, and yield the list that they are added to then."""
    held, printed = list[Held](), list[str]()
    looking = Thread(target=lambda: printed.append(watch(database, application)), daemon=True)
    looking.start()
    try:
        yield held
    finally:
        database.lines(STOP)
        looking.join(LONGEST)
        held += read("".join(printed))


def watch(database: Database, application: str) -> str:
    """Look until somebody ends the session; return what it printed."""
    words = ("docker", "exec", f"--env=PGAPPNAME={WATCHER}", database.container, "sh", "-c", WATCH)
    return database.host.try_run(query(*words, SQL.replace("NAME", application)), timeout=LONGEST + 10).stdout


def read(printed: str) -> list[Held]:
    """Read the looks, a line for each lock in each; one is held from its first to its last, and a look more. Pure."""
    lines = [line.split("|") for line in printed.splitlines() if line.startswith(f"{MARK}|")]
    times: dict[tuple[str, str], list[float]] = {}
    for _, table, mode, at in lines:
        times.setdefault((table, mode), []).append(float(at))
    return [Held(*lock, max(seen) - min(seen) + INTERVAL) for lock, seen in times.items()]
