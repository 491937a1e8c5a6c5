"""Show what was deployed, scaled, shown the maintenance page for and taken down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused, acting
from deploy.core.model import Kept, Record
from deploy.hosts import fleet
from deploy.hosts.host import Host
from deploy.state import locks
from deploy.state.journal import Operation
from deploy.state.store import state_of

# a line may have keys of a newer toolkit, too
FIELDS = set(Record.model_fields) - set(Kept.model_fields)


def show(at: Environment, *, limit: int, json: bool) -> None:
    """List what was done, newest first, each line with its hosts.

    Raises what kept hosts from being reached, once the others' ledgers are shown.
    """
    if limit < 1:
        what, then = f"--limit must be 1 or more, not {limit}", "inv history --limit=20, for example"
        raise Refused(what, where="inv history", then=then, slug="wrong-usage")
    read, unreachable = at.gather(lambda host: (state_of(at, host).history(), operations_on(at, host)))
    ledgers = {name: entries for name, (entries, _) in read.items()}
    lines = [*merge_ledgers(ledgers), *merge_operations({name: operations for name, (_, operations) in read.items()})]
    entries = sorted(lines, key=lambda line: line[0].started, reverse=True)[:limit]
    if json:
        console.document([{**entry.model_dump(include=FIELDS), "hosts": hosts} for entry, hosts in entries])
    elif entries:
        columns = 7 if len(at.hosts) > 1 else 6
        rows = [
            [e.started, e.command, e.release, outcome(e), f"{e.seconds:.0f} s", e.who, ", ".join(hosts)]
            for e, hosts in entries
        ]
        headings = ["when (UTC)", "command", "release", "outcome", "took", "who", "hosts"]
        console.table(headings[:columns], [row[:columns] for row in rows])
    elif not unreachable:
        console.say(
            acting(f"nothing has been deployed to {at.settings.name} yet; to deploy: inv deploy", at.settings.env)
        )
    fleet.raise_unreachable(unreachable, documented=json)


def operations_on(at: Environment, host: Host) -> tuple[Operation, ...]:
    """Return the operations of one host; the last one goes on where it has not ended and a command holds the lock."""
    newest, *others = (*state_of(at, host).operations(), None)
    if newest and not newest.outcome:
        goes_on = any(one.lock == "change" for one in locks.holders(host, at.settings.state_dir))
        newest = replace(newest, outcome="running" if goes_on else "")
    return tuple(one for one in (newest, *others) if one)


def merge_operations(operations: Mapping[str, Sequence[Operation]]) -> list[tuple[Record, list[str]]]:
    """Make one line of each operation, with its hosts; it was interrupted where no host has its outcome. Pure."""
    runs: dict[str, dict[str, Operation]] = {}
    for host, own in operations.items():
        for one in own:
            runs.setdefault(one.run, {})[host] = one
    return [(record_of(max(own.values(), key=lambda one: one.outcome)), list(own)) for own in runs.values()]


def record_of(one: Operation) -> Record:
    """Write an operation as a line of the ledger is: its release is the one that served. Pure."""
    return Record(
        release=one.release, revision="", command=one.words, outcome=one.outcome or "interrupted", colour="",
        generation=0, schema_revision=None, who=one.who, started=one.started, seconds=one.seconds, commit_time="",
    )  # fmt: skip


def outcome(entry: Record) -> str:
    """Return a command's outcome, what judged the release where the edge's log did not, and a person's override."""
    watch = f", watch: {entry.watch}" if entry.watch else ""
    reasons = {"schema fits": entry.schema_fits, "not scanned": entry.unscanned}
    return f"{entry.outcome}{watch}" + "".join(f", {name}: {reason}" for name, reason in reasons.items() if reason)


def merge_ledgers(ledgers: Mapping[str, Sequence[Record]]) -> list[tuple[Record, list[str]]]:
    """Merge the ledgers of all hosts, newest first: one line for a command, with the hosts that have it. Pure."""
    lines: dict[tuple[str, ...], tuple[Record, list[str]]] = {}
    for host, entries in ledgers.items():
        for entry in entries:
            key = (entry.started, entry.command, entry.release, entry.outcome)
            first, hosts = lines.get(key, (entry, []))
            watch = max(first.watch, entry.watch)  # "unknown", "probed", "": as text the worst is the greatest
            lines[key] = first.model_copy(update={"watch": watch}), [*hosts, host]
    return sorted(lines.values(), key=lambda line: line[0].started)[::-1]
