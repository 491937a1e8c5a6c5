"""What was deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused, acting
from deploy.core.model import Record
from deploy.hosts import fleet
from deploy.state.store import state_of


def show(at: Environment, *, limit: int, json: bool) -> None:
    """List what was deployed, newest first; a line of a host that has its own to say names it.

    A host that cannot be seen is said, and what the others know is shown.
    """
    if limit < 1:
        raise Refused(f"--limit={limit} shows nothing", where="inv history", then="inv history --limit=20, for example")
    ledgers, unseen = at.some(lambda host: state_of(at, host).history())
    entries = merged(ledgers)[:limit]
    if json:
        console.document([{**entry.model_dump(), "hosts": hosts} for entry, hosts in entries])
    elif entries:
        rows = [
            [e.started, e.command, e.release, outcome(e), f"{e.seconds:.0f} s", e.who, *([", ".join(hosts)] if len(at.hosts) > 1 else [])]
            for e, hosts in entries
        ]
        console.table(["when (UTC)", "command", "release", "outcome", "took", "who", *(["hosts"] if len(at.hosts) > 1 else [])], rows)
    elif not unseen:
        console.say(acting(f"nothing was deployed to {at.settings.name} yet; inv deploy does", at.settings.env))
    fleet.tell(unseen, documented=json)


def outcome(entry: Record) -> str:
    """Say what came of a command, and what judged the release where that was not the edge's log."""
    return f"{entry.outcome}, watch: {entry.watch}" if entry.watch else entry.outcome


def merged(ledgers: Mapping[str, Sequence[Record]]) -> list[tuple[Record, list[str]]]:
    """Return the lines of all hosts, newest first, with the hosts that each is of: the same command is one line. Pure."""
    lines: dict[tuple[str, ...], tuple[Record, list[str]]] = {}
    for host, entries in ledgers.items():
        for entry in entries:
            key = (entry.started, entry.command, entry.release, entry.outcome)
            first, hosts = lines.get(key, (entry, []))
            watch = max(first.watch, entry.watch)  # unknown, probed, nothing: as text the worst is the greatest
            lines[key] = first.model_copy(update={"watch": watch}), [*hosts, host]
    return sorted(lines.values(), key=lambda line: line[0].started)[::-1]
