"""`inv doctor`, `inv dev`, `inv disk`, `inv prune`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.door import door

if TYPE_CHECKING:
    from deploy.hosts.local import LocalHost
    from deploy.settings import Settings


@door()
def doctor(settings: Settings, host: LocalHost, json: bool = False) -> None:
    """Say what is missing on this machine, and the command that mends it."""
    from deploy import doctor

    doctor.show(doctor.examine(settings, host), json=json)


@door(only="dev", help={"fresh": "begin with an empty database"})
def dev(settings: Settings, host: LocalHost, fresh: bool = False) -> None:
    """Run the app with hot reload of both halves, until Ctrl-C."""
    from deploy import dev

    dev.run(settings, host, fresh=fresh)


@door()
def disk(settings: Settings, host: LocalHost, json: bool = False) -> None:
    """Show where the space went, and what gives most of it back."""
    from deploy.insight import disk

    disk.show(disk.look(settings, host), json=json)


@door()
def prune(settings: Settings, host: LocalHost, yes: bool = False, json: bool = False) -> None:
    """Remove releases that nobody will go back to, their images, and build cache beyond build.cache_gb; asks before."""
    from deploy.insight import prune

    prune.prune(settings, host, yes=yes, json=json)
