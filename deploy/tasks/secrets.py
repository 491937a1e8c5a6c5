"""`inv secrets.*`."""

from __future__ import annotations

from typing import Any

from deploy.tasks.door import ENV, door


@door(help=ENV)
def init(c: Any, env: str = "local") -> None:
    """Make .env.<env> from .env.example, a random value in each <random NAME>; an existing file stays."""
    from deploy import console, secrets, settings
    from deploy.hosts.local import LocalHost

    wanted = settings.load(env)
    made = secrets.create(wanted.secrets_file, wanted.root / secrets.EXAMPLE, LocalHost())
    console.say(f"{wanted.secrets_file.name}: {'made, mode 0600' if made else 'is there already; nothing changed'}")


@door(help=ENV)
def check(c: Any, env: str = "local") -> None:
    """Check that every documented secret is set and none is a placeholder."""
    from deploy import console, secrets, settings

    wanted = settings.load(env)
    values = secrets.read(wanted.secrets_file, wanted.root / secrets.EXAMPLE)
    console.say(f"{wanted.secrets_file.name}: {len(values)} secrets, version {secrets.version(values)}")
