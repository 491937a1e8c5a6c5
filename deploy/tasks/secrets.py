"""`inv secrets.*`, `inv notify.*`: what .env.<env> holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@command()
def init(at: Environment) -> None:
    """Make .env.<env> from .env.example, a random value in each <random NAME>; an existing file stays."""
    from deploy.config import secrets
    from deploy.core import console

    created = secrets.create(at.settings.secrets_file, at.settings.root / secrets.EXAMPLE, at.here)
    console.say(
        f"{at.settings.secrets_file.name}: {'made, mode 0600' if created else 'is there already; nothing changed'}"
    )


@command()
def check(at: Environment) -> None:
    """Check that every documented secret is set and none is a placeholder."""
    from deploy.config import secrets
    from deploy.core import console

    values = secrets.read(at.settings.secrets_file, at.settings.root / secrets.EXAMPLE, named=bool(at.settings.secrets))
    console.say(f"{at.settings.secrets_file.name}: {len(values)} secrets, version {secrets.version(values)}")


@command(name="test")
def notification(at: Environment) -> None:
    """Send a test notification to every address in NOTIFY_URLS."""
    from deploy.site import notify

    notify.probe(*at.machine)
