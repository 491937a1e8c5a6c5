"""What `inv resume` and `inv abort` do about an interrupted deploy or rollback."""

from __future__ import annotations

from deploy.config.environment import Environment
from deploy.core.errors import Refused
from deploy.rollout import commands, show
from deploy.rollout.interrupted_releases import interruptions
from deploy.site.interrupted import Handler


def resume(at: Environment, json: bool) -> None:
    """Go on towards the release that the command named.

    A run of an older toolkit that cannot is left to `inv deploy`.
    """
    try:
        outcome = commands.resume(at)
    except Refused as error:
        if not all(intention.run for intention in interruptions(at, at.hosts).values()):
            error.then = (
                "inv deploy: an older toolkit began what was interrupted, and a deploy starts from what is there"
            )
        raise
    show.recovered(outcome, at.settings, "go on with", json=json)


def abort(at: Environment, json: bool) -> None:
    """Go back to the release that was in service."""
    show.recovered(commands.abort(at), at.settings, "undo", json=json)


HANDLERS = dict.fromkeys(("deploy", "rollback"), Handler(resume, abort))
