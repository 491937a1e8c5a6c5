"""The recovery point before a migration: taken before anything changes, or once data runs that did not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from deploy.backups.repository import repository_of
from deploy.backups.take import backup
from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import OpsError, Refused
from deploy.state.store import moment


def require(at: Environment) -> None:
    """Take a recovery point before a migration, unless a restored one is younger than backup.max_age_hours.

    Raises OpsError where that fails: nothing is migrated then. A release without a backup service is a warning.
    """
    if not at.settings.backup.before_migration:
        console.warn("no backup before the migration: backup.before_migration is false")
        return
    try:
        repository = repository_of(at)
    except Refused as error:
        if error.slug not in ("no-backup-service", "nothing-runs"):
            raise
        console.warn(f"no backup before the migration: {error.what}")
        return
    oldest = moment(datetime.now(UTC) - timedelta(hours=at.settings.backup.max_age_hours))
    try:
        if not any(point.state == "restored" and point.taken >= oldest for point in repository.points()):
            taken = backup(at, within=at.settings.rollout.wait_for_dump, offsite=False)
            console.say(f"recovery point {taken.point} was taken before the migration")
    except OpsError as error:
        error.then = f"{error.then}; without a backup, at your own risk: OPS_BACKUP__BEFORE_MIGRATION=false inv deploy"
        raise
