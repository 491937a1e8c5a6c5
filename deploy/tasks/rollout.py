"""The commands that plan, change, scale, resume, abort and take down what serves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from deploy.tasks.command import command

if TYPE_CHECKING:
    from deploy.config.environment import Environment
    from deploy.site.interrupted import Handler


def ask(at: Environment, what: str | Callable[[], str], *, yes: bool) -> None:
    """Ask before what serves people is changed, where the environment asks; raise Refused unless they agree.

    A question that takes a look at the hosts is a function, which is called only where somebody is asked.
    """
    from deploy.core import console

    if at.settings.asks and not yes:
        hosts = ", ".join(host.name for host in at.hosts)
        question = what if isinstance(what, str) else what()
        console.confirm(f"{question} in {at.settings.env}, on {hosts}?", yes=yes)


@command()
def plan(at: Environment, json: bool = False) -> None:
    """Show what a deploy would do now, and do nothing."""
    from deploy.rollout import commands, show

    show.plan(commands.plan(at), at.settings, json=json)


DEPLOY = {
    "to": "an earlier release (default: this checkout)",
    "include": "shared services to recreate: edge,…",
    "unscanned": "why images without a PASS of a scan are deployed, where that would be refused",
}


@command(help=DEPLOY)
def deploy(
    at: Environment, to: str = "", include: str = "", unscanned: str = "", yes: bool = False, json: bool = False
) -> None:  # fmt: skip
    """Put a release into service without losing a request."""
    from deploy.rollout import commands, show

    outcome = commands.deploy(at, to=to, include=include, unscanned=unscanned, confirm=partial(ask, at, yes=yes))
    show.outcome(outcome, at.settings, json=json)


@command(
    help={
        "to": "the release to go back to (default: the one before)",
        "include": "shared services to recreate as it says: edge,…",
        "schema_fits": "why its code can work on the database's schema, where that would be refused",
        "unscanned": "why a release that never served goes without a PASS of a scan, where that would be refused",
    }
)
def rollback(
    at: Environment, to: str = "", include: str = "", schema_fits: str = "", unscanned: str = "", yes: bool = False,
    json: bool = False,
) -> None:  # fmt: skip
    """Put an earlier release back into service: code, configuration and secrets together."""
    from deploy.rollout import commands, show

    reasons = {"schema_fits": schema_fits, "unscanned": unscanned}
    outcome = commands.rollback(at, to=to, include=include, **reasons, confirm=partial(ask, at, yes=yes))
    show.outcome(outcome, at.settings, json=json)


def handlers() -> Mapping[str, Handler]:
    """Return how each command goes on after an interruption; each package has those of its own commands."""
    from deploy.backups import show
    from deploy.rollout import migrations
    from deploy.rollout.handlers import HANDLERS

    return {**HANDLERS, **migrations.HANDLERS, **show.HANDLERS}


@command()
def resume(at: Environment, yes: bool = False, json: bool = False) -> None:
    """Go on with a command that was interrupted: a deploy, a rollback, a restore."""
    from deploy.site import interrupted

    ask(at, lambda: interrupted.question(at, "go on"), yes=yes)
    interrupted.resume(at, handlers(), json=json)


@command()
def abort(at: Environment, yes: bool = False, json: bool = False) -> None:
    """Undo a command that was interrupted; back to the release or the database that was in service."""
    from deploy.site import interrupted

    ask(at, lambda: interrupted.question(at, "go back"), yes=yes)
    interrupted.abort(at, handlers(), json=json)


@command()
def unlock(at: Environment, yes: bool = False) -> None:
    """Show who holds the lock, and free it where that operator has gone; one who is still at work keeps it."""
    from deploy.core import console
    from deploy.rollout import unlock

    console.say(unlock.unlock(at, yes=yes))


@command(positional=["service"], help={"service": "SERVICE=N"})
def scale(at: Environment, service: str, yes: bool = False) -> None:
    """Bring a service to a number of replicas, now and in later releases: inv scale SERVICE=N."""
    from deploy.core import console
    from deploy.rollout import scale

    ask(at, f"scale to {service}", yes=yes)
    console.say(scale.scale(at, service))


@command(help={"on": "serve the page to everybody", "off": "serve the app again"})
def maintenance(at: Environment, on: bool = False, off: bool = False, yes: bool = False) -> None:
    """Put a page that says "back in a moment" in front of the app, or take it away; deploys go on behind it."""
    from deploy.core import console
    from deploy.rollout import maintenance

    if on and not off:
        ask(at, "show everybody the maintenance page", yes=yes)
    console.say(maintenance.turn(at, on=on, off=off))


@command(help={"volumes": "remove the data as well; asks for the environment's name"})
def down(at: Environment, volumes: bool = False, yes: bool = False) -> None:
    """Stop an environment; its data stays unless --volumes."""
    from deploy.rollout import takedown

    if volumes:
        ask_for_name(at, f"This removes every volume of {at.settings.name}, data included.", yes=yes)
    else:
        ask(at, "stop everything", yes=yes)
    takedown.down(at, volumes=volumes)


def ask_for_name(at: Environment, question: str, *, yes: bool) -> None:
    """Ask before data is removed, in any environment; raise Refused unless its name is typed."""
    from deploy.core import console

    console.confirm(question, yes=yes, word=at.settings.name)
