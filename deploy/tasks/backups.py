"""`inv backup` and `inv backup.*`: recovery points of the data, and what is done with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command

if TYPE_CHECKING:
    from deploy.config.environment import Environment

POINT = {"point": "a recovery point's id, as inv backup.list has it (default: the latest)"}


@command()
def take(at: Environment, json: bool = False) -> None:
    """Save the database, the declared volumes and the release's records as one encrypted recovery point."""
    from deploy.backups import show
    from deploy.backups.take import backup

    show.taken(backup(at), at.settings.env, json=json)


@command()
def list(at: Environment, json: bool = False) -> None:
    """List the recovery points, and how far each was proven: taken, read, restored."""
    from deploy.backups import show, take

    show.points(*take.listed(at), json=json)


@command()
def copy(at: Environment, json: bool = False) -> None:
    """Copy what the off-site repository lacks into it, and read the newest point back from there."""
    from deploy.backups import show, take

    show.points([take.copy(at)], json=json)


@command(positional=["point"], help={**POINT, "offsite": "read the copy of it that is off-site"})
def verify(at: Environment, point: str, offsite: bool = False, json: bool = False) -> None:
    """Read a recovery point from the repository, every byte, and compare its checksum."""
    from deploy.backups import show, take

    show.points([take.verify(at, point or "latest", offsite=offsite)], json=json)


@command()
def prune(at: Environment, yes: bool = False, json: bool = False) -> None:
    """Remove recovery points that the settings do not keep; the newest restored one always stays. Asks before."""
    from deploy.backups import retention

    retention.prune(at, yes=yes, json=json)


@command(help={"off": "take it away again"})
def schedule(at: Environment, off: bool = False) -> None:
    """Take a recovery point every night, by a timer on the host that has the data."""
    from deploy.backups import schedule
    from deploy.core import console

    console.say(schedule.remove(at) if off else schedule.install(at))


@command(
    positional=["point"],
    help={
        "point": "a recovery point's id, as inv backup.list has it, or latest",
        "older_schema": "also where the release that serves needs another schema",
        "volume": "the files of this volume, in place of the database",
        "table": "the rows of this table into a schema of their own, in place of the database",
        "without_health": "do not ask the app's own health on it before the swap",
        "at_": 'the database as it was then, "2026-11-23 10:15:00" in UTC or with a time zone, or latest (needs WAL)',
        "from_": "a dump that pg_dump --format=custom made elsewhere, in place of a recovery point",
    },
)
def restore(
    at: Environment, point: str, volume: str = "", table: str = "", at_: str = "", from_: str = "",
    older_schema: bool = False, without_health: bool = False, yes: bool = False, json: bool = False,
) -> None:  # fmt: skip
    """Restore a recovery point next to the database, check it, and swap them; the former database is kept."""
    from deploy.backups.choice import Choice

    chosen = Choice(point, volume, table, at_, from_, older_schema=older_schema, ask=not without_health)
    chosen.restore(at, yes=yes, json=json)


@command(positional=["point"], help={"point": "a recovery point's id (default: the latest, and a random older one)"})
def drill(at: Environment, point: str, json: bool = False) -> None:
    """Restore recovery points into an isolated copy, and start the current and the previous release on it."""
    from deploy.backups import drill, show

    show.drilled(drill.drill(at, point), at.settings.env, json=json)


@command()
def escrow(at: Environment, yes: bool = False, json: bool = False) -> None:
    """Show what backups cannot be read without, to be stored elsewhere, and note that somebody stored it."""
    from deploy.backups import escrow

    escrow.escrow(at, yes=yes, json=json)


@command(
    positional=["point"],
    help={
        "point": "a recovery point's id (default: the latest)",
        "this_checkout": "the release of this checkout on that data, in place of the one that served",
        "escrow": "the file that inv backup.escrow --json printed (default: the environment's secrets file)",
        "unscanned": "why this checkout's images without a PASS of a scan serve, where that would be refused",
        "swap_database": "a database of this name that has tables is swapped out, and kept under another name",
    },
)
def rebuild(
    at: Environment, point: str, escrow: str = "", this_checkout: bool = False, unscanned: str = "",
    swap_database: str = "", json: bool = False,
) -> None:  # fmt: skip
    """Bring a bare host into service from the off-site backups: release, secrets, data; nothing is read elsewhere."""
    from deploy.rollout import rebuild, show

    outcome = rebuild.rebuild(at, point, escrow, unscanned, swap_database, this_checkout=this_checkout)
    show.outcome(outcome, at.settings, json=json)
