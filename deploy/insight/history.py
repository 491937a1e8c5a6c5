"""What was deployed."""

from __future__ import annotations

from deploy import console
from deploy.hosts.host import Host
from deploy.settings import Settings
from deploy.state import State


def show(settings: Settings, host: Host, *, limit: int, json: bool) -> None:
    """List the ledger, newest first."""
    entries = State(host, settings.state_dir).ledger()[::-1][:limit]
    if json:
        console.document([entry.model_dump() for entry in entries])
    elif entries:
        rows = [[e.started, e.command, e.release, e.outcome, f"{e.seconds:.0f} s", e.who] for e in entries]
        console.table(["when (UTC)", "command", "release", "outcome", "took", "who"], rows)
    else:
        console.say(f"nothing was deployed to {settings.name} yet; inv deploy does")
