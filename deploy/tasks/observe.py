"""`inv status`, `inv history`, `inv logs`."""

from __future__ import annotations

from typing import Any

from deploy.tasks.door import ENV, JSON, door


@door(help={**ENV, **JSON})
def status(c: Any, env: str = "local", json: bool = False) -> None:
    """Show which release serves, and how its services are."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.insight import status as insight

    insight.show(settings.load(env), LocalHost(), json=json)


@door(help={**ENV, **JSON, "limit": "how many lines (default: 20)"})
def history(c: Any, env: str = "local", limit: int = 20, json: bool = False) -> None:
    """List what was deployed, when, by whom, and what came of it."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.insight import history as insight

    insight.show(settings.load(env), LocalHost(), limit=limit, json=json)


@door(
    positional=["service"],
    help={**ENV, "service": "a service of the compose files", "follow": "go on as lines come", "tail": "how many lines (default: 100)"},
)
def logs(c: Any, service: str, env: str = "local", follow: bool = False, tail: int = 100) -> None:
    """Show a service's log, of the colour that serves."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.insight import status as insight

    insight.logs(settings.load(env), LocalHost(), service, follow=follow, tail=tail)
