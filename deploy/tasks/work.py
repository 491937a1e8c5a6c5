"""`inv dev`, `inv prune`."""

from __future__ import annotations

from typing import Any

from deploy.tasks.door import ENV, JSON, YES, door


@door(help={"fresh": "begin with an empty database"})
def dev(c: Any, fresh: bool = False) -> None:
    """Run the app with hot reload of both halves, until Ctrl-C."""
    from deploy import dev, settings
    from deploy.hosts.local import LocalHost

    dev.run(settings.load("dev"), LocalHost(), fresh=fresh)


@door(help={**ENV, **JSON, **YES})
def prune(c: Any, env: str = "local", yes: bool = False, json: bool = False) -> None:
    """Remove releases that nobody will go back to, their images, and build cache beyond build.cache_gb; asks before."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.insight import prune

    prune.prune(settings.load(env), LocalHost(), yes=yes, json=json)
