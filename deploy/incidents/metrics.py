"""DORA's four keys of an environment, from the hosts' ledgers and journals and this checkout's commits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import OpsError, Refused
from deploy.core.model import Record
from deploy.core.shell import query
from deploy.hosts import fleet
from deploy.incidents import dora
from deploy.incidents.dora import Commit, Measure, Recorded, Switched
from deploy.insight.history import merge_ledgers
from deploy.state.ledger import Ledger
from deploy.state.store import State, state_of

GIT_WITHIN = 30  # seconds


def show(at: Environment, *, days: int, json: bool) -> None:
    """Show the four keys of the last days; what cannot be seen is UNKNOWN.

    Raises unreachable hosts' errors once the rest is shown.
    """
    if days < 1:
        what, then = f"--days must be 1 or more, not {days}", "inv metrics --days=30, for example"
        raise Refused(what, where="inv metrics", then=then, slug="wrong-usage")
    now = datetime.now(UTC)
    recorded, unreachable = read(at, now - timedelta(days=days))
    results = dora.measures(recorded, now, days)
    if json:
        console.document({"env": at.settings.env, "days": days, "definitions": dora.DORA, **document(results)})
    else:
        rows = [[one.name, one.shown, one.evidence, one.source] for one in results]
        console.table(["of the last " + f"{days} days", "", "of what", "counted as"], rows)
        console.say(f"the four keys of DORA: {dora.DORA}")
    fleet.raise_unreachable(unreachable, documented=json)


def document(results: Sequence[Measure]) -> dict[str, object]:
    """Return the four keys for programs."""
    return {
        "measures": [
            {
                "name": one.name,
                "value": one.value,
                "unit": one.unit,
                "unknown": one.unknown,
                "evidence": one.evidence,
                "source": one.source,
            }
            for one in results
        ]
    }


def read(at: Environment, since: datetime) -> tuple[Recorded, dict[str, OpsError]]:
    """Read what the hosts and this checkout remember; then unreachable hosts' errors."""
    ledgers, unreachable = at.gather(lambda host: state_of(at, host).read_ledger())
    lost = why_lost(ledgers, since)
    entries = [entry for entry, _ in merge_ledgers({name: own.entries for name, own in ledgers.items()})][::-1]
    commits, gitless = commits_of(at)
    failing = any(entry.outcome != "in service" for entry in entries)
    switches = switches_of(at, ledgers) if failing else ()
    return Recorded(entries, switches, commits, lost, gitless), unreachable


def why_lost(ledgers: Mapping[str, Ledger], since: datetime) -> str:
    """Say why the ledgers do not have every line of a time; empty where that of some host has. Pure."""
    if not any(own.lines for own in ledgers.values()):
        return "there is no ledger: nothing was deployed, or the state folder is gone"
    damaged = {name: lines_lost(own.lines, since) for name, own in ledgers.items() if own.lines}
    if not all(damaged.values()):
        return ""
    words = ", ".join(f"{number} of {name}" for name, number in damaged.items())
    return f"lines of the ledger cannot be read ({words}): any number would be a guess"


def lines_lost(lines: Sequence[Record | None], since: datetime) -> int:
    """Count the lines that cannot be read and may be of a time: those after the last one from before it. Pure."""
    old = [at for at, line in enumerate(lines) if line and dora.ended(line) < since]
    return sum(line is None for line in lines[old[-1] + 1 if old else 0 :])


def switches_of(at: Environment, ledgers: Mapping[str, Ledger]) -> tuple[Switched, ...] | None:
    """Return when traffic was switched, by the journals; None where none has a line."""
    hosts = [host for host in at.hosts if host.name in ledgers]
    found = at.each(lambda host: list(switches(state_of(at, host))), hosts)
    readable = any(at.each(lambda host: bool(next(state_of(at, host).journal(), None)), hosts).values())
    return tuple(one for own in found.values() for one in own) if readable else None


def switches(state: State) -> list[Switched]:
    """Read the switches of one host's journal, oldest first."""
    done = [line for line in state.journal('"Switch"') if line.get("state") == "done"]
    times = list[Switched]()
    for line in reversed(done):
        with suppress(ValueError, TypeError):
            times.append(Switched(str(line.get("target")), datetime.fromisoformat(str(line["time"]))))
    return times


def commits_of(at: Environment) -> tuple[dict[str, Commit] | None, str]:
    """Read the commits of this checkout; None, and why, where git does not show them all."""
    git = ("git", "-C", str(at.settings.root))
    try:
        shallow = at.here.try_run(query(*git, "rev-parse", "--is-shallow-repository"), timeout=GIT_WITHIN)
        log = at.here.try_run(query(*git, "log", "--all", "--format=%H %ct %P"), timeout=GIT_WITHIN)
    except OpsError as error:
        return None, f"git does not answer: {error.what}".partition("\n")[0]
    if shallow.returncode or log.returncode:
        return None, f"{at.settings.root} is no git checkout with commits"
    if shallow.stdout.strip() == "true":
        return None, "this checkout has a part of the history alone: git fetch --unshallow"
    lines = (line.split() for line in log.stdout.splitlines())
    return {name: Commit(int(time), tuple(parents)) for name, time, *parents in lines}, ""
