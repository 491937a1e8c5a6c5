"""`inv tls.*`: the certificate that the edge serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command

if TYPE_CHECKING:
    from deploy.config.environment import Environment

UNPROBED = {"unprobed": "ask for no challenge of our own by each name before"}


@command(help=UNPROBED)
def issue(at: Environment, unprobed: bool = False, json: bool = False) -> None:
    """Obtain the certificate that the settings name, or take one's own, and serve it; the host then renews it."""
    from deploy.certificates import issue, show

    show.served(issue.issue_first(at, unprobed=unprobed), at.settings, json=json)


@command(help={**UNPROBED, "now": "also where it is not due: servers count these"})
def renew(at: Environment, now: bool = False, unprobed: bool = False, json: bool = False) -> None:
    """Renew the certificate where it is due, as the host does by itself; the edge reloads only where it changed."""
    from deploy.certificates import issue, show

    show.served(issue.issue_first(at, now=now, unprobed=unprobed), at.settings, json=json)


@command()
def check(at: Environment, json: bool = False) -> None:
    """Check what every edge serves: the installed certificate, its names, chain and expiry, and that renewal works."""
    from deploy.certificates import check
    from deploy.site import checks

    checks.show(check.check(at), at.settings.env, json=json)
