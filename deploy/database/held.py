"""Which tables a migration locks so that others wait, and for how long, seen from a second session."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Thread

from deploy.core.shell import Result, query
from deploy.database.postgres import SCRIPT, Database

INTERVAL = 0.1  # seconds between two looks
LONGEST = 900  # seconds that it looks at most
MARK, WATCHER = "look", "inv-locks"
# https://www.postgresql.org/docs/current/explicit-locking.html: these keep out whoever writes, the first also who reads
MODES = ("AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock")
# each look is a line, and one more for each lock of others; a table that a session makes is in nobody else's pg_class
SQL = (
    f"SELECT '{MARK}', extract(epoch FROM now()), NULL, NULL UNION ALL "  # noqa: S608  # our own names
    f"SELECT '{MARK}', extract(epoch FROM now()), c.oid::regclass::text, l.mode "
    "FROM pg_locks l JOIN pg_stat_activity a USING (pid) JOIN pg_class c ON c.oid = l.relation "
    "WHERE a.pid <> pg_backend_pid() AND a.datname = current_database() AND a.backend_type = 'client backend' "
    f"AND l.granted AND c.relkind IN ('r', 'p') AND l.mode IN {MODES}"
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


@dataclass
class Looks:
    """What was seen of locks, once the looking has ended; `failed` says why nobody could look."""

    held: tuple[Held, ...] = ()
    failed: str = ""


@contextmanager
def watched(database: Database) -> Iterator[Looks]:
    """Look at the locks of a database that one program alone uses, until the block ends."""
    looks, printed = Looks(), list[Result]()
    looking = Thread(target=lambda: printed.append(watch(database)), daemon=True)
    looking.start()
    try:
        yield looks
    finally:
        database.lines(STOP)
        looking.join(LONGEST)
        output = "".join(result.stdout for result in printed)
        looks.held = read(output)
        if MARK not in output:
            looks.failed = f"nobody could look at the locks: {''.join(one.output for one in printed).strip()[-300:]}"


def watch(database: Database) -> Result:
    """Look until somebody ends the session; return what it printed."""
    words = ("docker", "exec", f"--env=PGAPPNAME={WATCHER}", database.container, "sh", "-c", WATCH, SQL)
    return database.host.try_run(query(*words), timeout=LONGEST + 10)


def read(printed: str) -> tuple[Held, ...]:
    """Read the looks: a lock was held through all that saw it one after the other; the longest time counts. Pure."""
    lines = [line.split("|") for line in printed.splitlines() if line.startswith(f"{MARK}|")]
    looks = sorted({float(at) for _, at, _, _ in lines})
    seen: dict[tuple[str, str], set[float]] = {}
    for _, at, table, mode in lines:
        if table:
            seen.setdefault((table, mode), set()).add(float(at))
    return tuple(Held(*lock, longest(looks, times)) for lock, times in seen.items())


def longest(looks: Sequence[float], times: Collection[float]) -> float:
    """Return how many seconds the most looks in a row took that are among these times, and a look. Pure."""
    most, began = 0.0, None
    for at in looks:
        began = (at if began is None else began) if at in times else None
        most = max(most, at - began + INTERVAL) if began is not None else most
    return most
