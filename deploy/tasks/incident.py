"""`inv incident.triage`, `inv incident.playbook`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@command(help={"bundle": "a new folder, into which that and the logs are written, secrets hidden"})
def triage(at: Environment, bundle: str = "", json: bool = False) -> None:
    """Show on one screen what is wrong, the likeliest cause, and the next command."""
    from deploy.incidents import triage

    triage.show(at, folder=bundle, json=json)


@command(positional=["name"], help={"name": "a playbook's name (default: a list of all)"})
def playbook(at: Environment, name: str, json: bool = False) -> None:
    """Show what to type on a bad night: inv incident.playbook NAME, or the list of all."""
    from deploy.incidents import playbooks

    playbooks.show(at, name, json=json)
