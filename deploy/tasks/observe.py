"""`inv status`, `inv history`, `inv logs`, `inv exec`, `inv disk`."""

from __future__ import annotations

from typing import Any

from deploy.tasks.door import ENV, JSON, door, rest


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


LOGS = {
    "service": "inv logs SERVICE ... (default: all)",
    "since": "10m, 2026-11-23T13:00:00, as docker logs takes it",
    "grep": "only lines in which this regular expression is found",
    "follow": "go on as lines come, until Ctrl-C",
    "tail": "last lines of each service (default: 100; all with --since or --grep)",
}


@door(iterable=["service"], help={**ENV, **LOGS})
def logs(c: Any, service: Any, env: str = "local", since: str = "", grep: str = "", follow: bool = False, tail: int = -1) -> None:
    """Show what services say, of the colour that serves: inv logs SERVICE ..., of all when none is named."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.insight import logs as insight

    insight.show(settings.load(env), LocalHost(), service, insight.query(since, grep, tail), follow=follow)


@door(positional=["service"], iterable=["command"], help={**ENV, "service": "a service", "command": "inv exec SERVICE -- COMMAND ..."})
def exec(c: Any, service: str, command: Any, env: str = "local") -> None:
    """Run a command in a service's container, of the colour that serves: inv exec SERVICE -- COMMAND ARGUMENT ..."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.insight import inside

    inside.run(settings.load(env), LocalHost(), service, inside.split(command, rest()))


@door(help={**ENV, **JSON})
def disk(c: Any, env: str = "local", json: bool = False) -> None:
    """Show where the space went, and what gives most of it back."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.insight import disk

    disk.show(disk.look(settings.load(env), LocalHost()), json=json)
