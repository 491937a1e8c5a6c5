"""`inv status`, `inv history`, `inv metrics`, `inv validate`, `inv logs`, `inv exec`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command, split_names, words_after_dashes

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@command()
def status(at: Environment, json: bool = False) -> None:
    """Show which release serves, and how its services are."""
    for host in at.hosts:
        host.connect_ahead()  # while the rest is imported
    from deploy.insight import status

    status.show(at, json=json)


@command(help={"limit": "how many lines (default: 20)"})
def history(at: Environment, limit: int = 20, json: bool = False) -> None:
    """List what was deployed, scaled or taken down, when, by whom, and with what outcome."""
    from deploy.insight import history

    history.show(at, limit=limit, json=json)


@command(help={"days": "how many days back (default: 30)"})
def metrics(at: Environment, days: int = 30, json: bool = False) -> None:
    """Show DORA's four keys: deployment frequency, lead time, change failure rate, time to restore."""
    from deploy.incidents import metrics

    metrics.show(at, days=days, json=json)


@command()
def validate(at: Environment, json: bool = False) -> None:
    """Check the eight gates: services, health, vulnerabilities, certificates, dashboards, logs, backup, rollback."""
    from deploy.incidents import validate

    validate.show(at, json=json)


LOGS = {
    "service": "services, with commas between them (default: all)",
    "since": "how long ago, 10m or 1h30m, or a time, 2026-11-23T13:00 (default: the last 100 lines)",
    "grep": "only lines in which this regular expression is found",
    "times": "put in front of each line when it was printed, in UTC",
    "follow": "go on as lines come, until Ctrl-C",
}


@command(positional=["service"], help=LOGS)
def logs(
    at: Environment, service: str, since: str = "", grep: str = "", times: bool = False, follow: bool = False
) -> None:  # fmt: skip
    """Show what services print, of the colour that serves: inv logs SERVICE,..., of all when none is named."""
    from deploy.insight import logs

    logs.show(at, split_names(service), logs.query(since, grep, times=times), follow=follow)


EXEC = {
    "service": "a service",
    "command": "a command; in quotes it is split into words as by a shell, behind -- each word is one",
    "host": "one of its hosts (default: the first)",
}


@command(positional=["service", "command"], help=EXEC)
def exec(at: Environment, service: str, command: str, host: str = "") -> None:
    """Run a command in a service's container, of the colour that serves: inv exec SERVICE -- COMMAND ARGUMENT ..."""
    from deploy.insight import inside

    inside.run(at, service, inside.split(command, words_after_dashes()), host=host)
