"""`inv secrets.*`, `inv notify.*`: an environment's secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@command()
def init(at: Environment) -> None:
    """Make the secrets file from .env.example, a random value in each <random NAME>; an existing file stays."""
    from deploy.config import secrets
    from deploy.core import console

    created = secrets.create(*at.machine)
    console.say(f"{at.settings.secrets_file.name}: {'made' if created else 'is there already; nothing changed'}")


@command()
def check(at: Environment, json: bool = False) -> None:
    """Check for secrets that are missing, weak, placeholders or unused, and for what Compose would leave blank."""
    from deploy.insight import secrets
    from deploy.site import checks

    checks.show(secrets.examine(at), at.settings.env, json=json)


@command()
def edit(at: Environment) -> None:
    """Open the secrets in $EDITOR, and encrypt them to all recipients where the file is encrypted."""
    from deploy.config.secrets import edit

    edit.edit(*at.machine)


@command(positional=["key"], help={"key": "the secret's name", "finish": "let go of KEY_PREVIOUS"})
def rotate(at: Environment, key: str, finish: bool = False) -> None:
    """Change one secret so that no rollback brings the old value back; in two steps where there is a KEY_PREVIOUS."""
    from deploy.site import rotate

    rotate.change(at, key, finish=finish)


@command()
def identity(at: Environment) -> None:
    """Show the public key of this account, which encrypted files are encrypted to; make the key where there is none."""
    from deploy.config.secrets import age
    from deploy.core import console

    path = at.settings.secrets.identity_in(at.settings.root)
    console.say(f"{path} is yours alone; put its public key under [secrets.recipients]:")
    console.say(age.make_identity(path, at.here))


@command(name="test")
def notification(at: Environment) -> None:
    """Send a test notification to every address in NOTIFY_URLS."""
    from deploy.site import notify

    notify.probe(*at.machine)
