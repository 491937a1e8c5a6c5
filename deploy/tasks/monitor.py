"""`inv monitor.*`: the stack that watches an environment and tells people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command, split_names

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@command()
def up(at: Environment, json: bool = False) -> None:
    """Start the monitoring stack on every host, or bring it to what the release and the settings ask for."""
    from deploy.monitoring import run
    from deploy.site import checks

    checks.show(run.up(at), at.settings.env, json=json)


@command()
def down(at: Environment) -> None:
    """Stop the monitoring stack; its history stays, in volumes."""
    from deploy.monitoring import run

    run.down(at)


@command()
def check(at: Environment, json: bool = False) -> None:
    """Check that targets are up, rules are evaluated, every service is watched, and people are notified."""
    from deploy.monitoring import check, run
    from deploy.site import checks

    checks.show(check.check(at.settings, run.runs_of(at)), at.settings.env, json=json)


@command(
    help={"only": "faults, with commas (default: all that can be injected)", "times": "how often each (default: 1)"}
)
def verify(at: Environment, only: str = "", times: int = 1, json: bool = False) -> None:
    """Inject faults and time the notification of each; never in prod."""
    from deploy.monitoring import verify

    verify.show(verify.verify(at, split_names(only), times), at.settings.env, json=json)


@command(
    positional=["matchers"],
    help={
        "matchers": "what is silenced, as in service=worker, several with blanks in quotes (default: list silences)",
        "duration": "for how long: 30m, 2h, 1d",
        "comment": "why",
        "expire": "end the silence with this id instead",
    },
)
def silence(
    at: Environment, matchers: str, duration: str = "", comment: str = "", expire: str = "", json: bool = False
) -> None:
    """Notify nobody of some alerts for a while; without words, list what is silenced."""
    from deploy.monitoring import silence

    silence.change(at, matchers.split(), duration, comment, expire)
    silence.show(silence.listed(at), at.settings.env, json=json)


@command(
    help={"file": "where it is written (default: monitoring.html)", "hours": "how long before now (default: 6)"},
)
def page(at: Environment, file: str = "monitoring.html", hours: int = 6) -> None:
    """Write the dashboards, with what was deployed and the four keys, as one HTML page."""
    from deploy.incidents import page

    page.show(at, file=file, hours=hours)
