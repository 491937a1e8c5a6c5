"""Show what was deployed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused, acting
from deploy.core.model import Kept, Record
from deploy.hosts import fleet
from deploy.state.store import state_of

# a line may have keys of a newer toolkit, too
FIELDS = set(Record.model_fields) - set(Kept.model_fields)


def show(at: Environment, *, limit: int, json: bool) -> None:
    """List what was deployed, newest first, each line with its hosts.

    Raises what kept hosts from being reached, once the others' ledgers are shown.
    """
    if limit < 1:
        what, then = f"--limit must be 1 or more, not {limit}", "inv history --limit=20, for example"
        raise Refused(what, where="inv history", then=then, slug="wrong-usage")
    ledgers, unreachable = at.gather(lambda host: state_of(at, host).history())
    entries = merged(ledgers)[:limit]
    if json:
        console.document([{**entry.model_dump(include=FIELDS), "hosts": hosts} for entry, hosts in entries])
    elif entries:
        several = len(at.hosts) > 1
        rows = [
            [e.started, e.command, e.release, outcome(e), f"{e.seconds:.0f} s", e.who]
            + ([", ".join(hosts)] if several else [])
            for e, hosts in entries
        ]
        headings = ["when (UTC)", "command", "release", "outcome", "took", "who"]
        console.table([*headings, "hosts"] if several else headings, rows)
    elif not unreachable:
        console.say(
            acting(f"nothing has been deployed to {at.settings.name} yet; to deploy: inv deploy", at.settings.env)
        )
    fleet.raise_unreachable(unreachable, documented=json)


def outcome(entry: Record) -> str:
    """Return a command's outcome, what judged the release where the edge's log did not, and a person's override."""
    watch = f", watch: {entry.watch}" if entry.watch else ""
    reasons = {"schema fits": entry.schema_fits, "not scanned": entry.unscanned}
    return f"{entry.outcome}{watch}" + "".join(f", {name}: {reason}" for name, reason in reasons.items() if reason)


def merged(ledgers: Mapping[str, Sequence[Record]]) -> list[tuple[Record, list[str]]]:
    """Merge the ledgers of all hosts, newest first: one line for a command, with the hosts that have it. Pure."""
    lines: dict[tuple[str, ...], tuple[Record, list[str]]] = {}
    for host, entries in ledgers.items():
        for entry in entries:
            key = (entry.started, entry.command, entry.release, entry.outcome)
            first, hosts = lines.get(key, (entry, []))
            watch = max(first.watch, entry.watch)  # "unknown", "probed", "": as text the worst is the greatest
            lines[key] = first.model_copy(update={"watch": watch}), [*hosts, host]
    return sorted(lines.values(), key=lambda line: line[0].started)[::-1]
