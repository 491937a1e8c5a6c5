"""`inv doctor`, `inv dev`, `inv disk`, `inv prune`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@command()
def doctor(at: Environment, json: bool = False) -> None:
    """Say what is missing on this machine, and the command that fixes it."""
    from deploy import doctor
    from deploy.site import checks

    checks.show(doctor.examine(*at.machine), at.settings.env, json=json)


@command(only="dev", help={"fresh": "begin with an empty database"})
def dev(at: Environment, fresh: bool = False) -> None:
    """Run the app with hot reload of both halves, until Ctrl-C."""
    from deploy import dev

    dev.run(at, fresh=fresh)


@command()
def disk(at: Environment, json: bool = False) -> None:
    """Show where the space went, and what gives most of it back."""
    from deploy.insight import disk

    disk.show(at, json=json)


@command()
def prune(at: Environment, yes: bool = False, json: bool = False) -> None:
    """Remove releases that nobody will go back to, their images, and build cache beyond build.cache_gb; asks before."""
    from deploy.insight import prune

    prune.prune(at, yes=yes, json=json)
