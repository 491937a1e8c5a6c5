"""Ask an environment's own PostgreSQL who is in the way, through its container: no password is needed there."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deploy.core.errors import OpsError
from deploy.core.shell import query
from deploy.hosts.host import Host
from deploy.site.run import Run

SCRIPT = (
    'export PGUSER="${POSTGRES_USER:-postgres}" PGOPTIONS="-c statement_timeout=5s"; '
    'exec psql --no-psqlrc --no-align --tuples-only --quiet --dbname="${POSTGRES_DB:-$PGUSER}" --command="$0"'
)
SESSION = (
    "format('process %s of %s, a transaction of %s s, %s: %s', s.pid, s.usename, "
    "extract(epoch FROM clock_timestamp() - s.xact_start)::int, s.state, "
    "left(regexp_replace(s.query, '\\s+', ' ', 'g'), 120))"
)
OLD = (
    f"SELECT {SESSION} FROM pg_stat_activity s "  # noqa: S608  # numbers of ours
    "WHERE s.backend_type = 'client backend' AND s.datname = current_database() AND s.pid <> pg_backend_pid() "
    # a dump is waited for by its lock
    "AND s.application_name <> 'pg_dump' AND s.xact_start < clock_timestamp() - interval 'SECONDS s' "
    "ORDER BY s.xact_start LIMIT 3"
)
BLOCKING = (
    f"SELECT DISTINCT {SESSION} "  # noqa: S608  # a name of ours
    "FROM pg_stat_activity w, unnest(pg_blocking_pids(w.pid)) b, pg_stat_activity s "
    "WHERE w.application_name = 'NAME' AND s.pid = b"
)
WAITING = (
    "SELECT format('process %s of %s waits %s s for ', w.pid, w.usename, "  # noqa: S608  # SQL of ours
    f"extract(epoch FROM clock_timestamp() - w.query_start)::int) || {SESSION} "
    "FROM pg_stat_activity w, unnest(pg_blocking_pids(w.pid)) b, pg_stat_activity s "
    "WHERE w.datname = current_database() AND s.pid = b ORDER BY w.query_start LIMIT 3"
)

# what CREATE or REINDEX INDEX CONCURRENTLY left when it failed, and nobody builds now: it is written to and never read
INVALID = (
    "SELECT i.indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
    "WHERE NOT i.indisvalid AND c.relkind = 'i' "
    "AND i.indrelid NOT IN (SELECT relid FROM pg_stat_progress_create_index WHERE datname = current_database()) "
    "AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid)"
)


@dataclass(frozen=True)
class Database:
    """A container that has PostgreSQL's client, and in all likelihood the server."""

    host: Host
    container: str

    def lines(self, sql: str) -> list[str]:
        """Return the rows of a query, a line each; raise CommandFailed."""
        asked = query("docker", "exec", self.container, "sh", "-c", SCRIPT, sql)
        return self.host.run(asked, timeout=15).splitlines()

    def old_transactions(self, seconds: float) -> list[str]:
        """Describe the transactions that are older than that, the oldest first."""
        return self.lines(OLD.replace("SECONDS", f"{seconds:g}"))

    def blocking(self, application: str) -> list[str]:
        """Describe the sessions that an application's wait for."""
        return self.lines(BLOCKING.replace("NAME", application))

    def waiting(self) -> list[str]:
        """Describe who waits for a lock, the longest first, and the session that has it."""
        return self.lines(WAITING)

    def invalid_indexes(self) -> list[str]:
        """Name the indexes that a build which failed left."""
        return self.lines(INVALID)

    def drop_index(self, name: str) -> None:
        """Drop an index that nobody reads, while people go on; raise CommandFailed."""
        self.lines(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")


def database_of(runs: Iterable[Run]) -> Database | None:
    """Find the PostgreSQL of an environment among its data services that run; None where it is managed elsewhere."""
    for run in runs:
        for container in run.facts.shared.values():
            has = query("docker", "exec", container.name, "sh", "-c", "command -v psql")
            if container.role == "data" and not run.host.try_run(has).returncode:
                return Database(run.host, container.name)
    return None


def blocking(database: Database, application: str) -> str:
    """Describe what an application's sessions wait for; empty where nothing is in the way, or nobody answers."""
    try:
        return "; ".join(database.blocking(application))
    except (OpsError, OSError):  # whatever it is, the migration goes on
        return ""
