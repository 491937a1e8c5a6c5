"""`inv migrate` and `inv migrate.*`: the database's schema, without a deploy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@command(help={"unscanned": "why images without a PASS of a scan migrate, where that would be refused"})
def migrate(at: Environment, unscanned: str = "", yes: bool = False, json: bool = False) -> None:
    """Migrate the database with this checkout's image, once the gate has passed it; what serves goes on serving."""
    from deploy.rollout import migrations
    from deploy.tasks.rollout import ask

    ask(at, "migrate the database", yes=yes)
    migrations.show_migrated(migrations.migrate(at, unscanned), json=json)


@command()
def lint(at: Environment, json: bool = False) -> None:
    """Check what a deploy would migrate now, as its gate does, and migrate nothing."""
    from deploy.rollout import migrations
    from deploy.site import checks

    checks.show(migrations.lint(at), at.settings.env, json=json)


@command()
def status(at: Environment, json: bool = False) -> None:
    """Show the database's revision, and those that this checkout has and the database lacks."""
    from deploy.rollout import migrations, show

    show.migrations(migrations.status(at), json=json)


@command(positional=["point"], help={"point": "a recovery point's id, as inv backup.list has it (default: the latest)"})
def check(at: Environment, point: str, json: bool = False) -> None:
    """Restore a backup into a clone, migrate that, say which locks were held, and start the serving release on it."""
    from deploy.rollout import migration_check
    from deploy.site import checks

    checks.show(migration_check.check(at, point or "latest"), at.settings.env, json=json)
