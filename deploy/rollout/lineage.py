"""Which release came before which, by the ledger; and which are kept."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from deploy.core import console
from deploy.core.errors import OpsError, Refused
from deploy.core.facts import Facts
from deploy.core.model import Record, Release, other
from deploy.site.run import Run
from deploy.state import locks
from deploy.state.journal import RELEASE, RELEASING
from deploy.state.store import LEDGER, Ledger, State, served_by


def earlier(entries: Sequence[Record], release: str | None) -> str | None:
    """Return the release that served when this one was deployed last; going back twice goes back by two. Pure."""
    served = [entry for entry in entries if entry.outcome == "in service"]
    arrived = [at for at, entry in enumerate(served) if entry.release == release and entry.command == "deploy"]
    earlier = [entry.release for entry in served[: arrived[-1] if arrived else None] if entry.release != release]
    return earlier[-1] if earlier else None


def previous(state: State, facts: Facts) -> str:
    """Return the release that a rollback goes to; raise Refused when there is none.

    Where the ledger is damaged or gone the journal says it, or what is stopped in the idle colour.
    """
    release, ledger = facts.edge.release or facts.accepted, state.read_ledger()
    if before := recent(ledger, release):
        return before
    if before := by_journal(state, release) or (idle_release(state, facts) if doubtful(ledger, facts) else None):
        reason = f"{state.folder / LEDGER} does not say which release served before {release}"
        console.warn(f"{reason}; by what is left it was {before}")
        return before
    if doubtful(ledger, facts):
        what = f"no record says which release served before {release}, and no stopped containers show it"
        raise Refused(
            what,
            where=str(state.folder / LEDGER),
            then="inv history, then inv rollback --to=RELEASE",
            slug="no-earlier-release",
        )
    raise Refused(
        "there is no earlier release to go back to",
        where=str(state.folder / LEDGER),
        then="inv history",
        slug="no-earlier-release",
    )


def doubtful(ledger: Ledger, facts: Facts) -> bool:
    """Tell whether lines are missing that could say which release was before: damaged ones, or that of what serves."""
    return not ledger.whole or facts.unrecorded


def recent(ledger: Ledger, release: str | None) -> str | None:
    """Return the release before one by the lines of which none is missing; None where its own arrival may be. Pure."""
    own = {entry.command for entry in ledger.recent if entry.release == release and entry.outcome == "in service"}
    return earlier(ledger.recent, release) if ledger.whole or not own or "deploy" in own else None


def by_journal(state: State, release: str | None) -> str | None:
    """Return what served when a release was deployed last, as the journal has it, which says it at the beginning."""
    ended = ""
    for line in state.commands(*RELEASING):
        if line["command"] == "down" and line.get("volumes"):
            return None
        if line.get("target") != release:
            ended = ""
        elif line["state"] != "begin":
            ended = line["state"]
        elif line["command"] == "deploy" and ended in ("done", "") and line.get("serving") != release:
            # a resume begins it again
            return str(line["serving"]) if line.get("serving") else None
    return None


def idle_release(state: State, facts: Facts) -> str | None:
    """Return the one release that the idle colour has; None for one that did not end well, or that a rollback left."""
    there = facts.of(other(facts.edge.colour))
    releases = {c.release for c in there}
    if len(releases) != 1 or is_rolled_back(state):
        return None
    release = releases.pop()
    last = next((str(line["state"]) for line in state.commands(*RELEASING) if line.get("target") == release), "")
    return release if last == "done" or not (last or any(c.alive for c in there)) else None


def is_rolled_back(state: State) -> bool:
    """Tell, by journal or ledger, whether a rollback came last: then the idle colour has what was left."""
    done = (line["command"] for line in state.commands(*RELEASING) if line["state"] == "done")
    served = (entry.command for entry in reversed(state.read_ledger().recent) if entry.outcome == "in service")
    return "rollback" in (next(done, ""), next(served, ""))


def expired_releases(state: State, desired: str, facts: Facts, number: int) -> list[str]:
    """Return the releases beyond the `number` that are kept; not what serves, is desired, or a rollback goes to.

    None while the ledger cannot say which these are: lines of it cannot be read, and too few came after them.
    """
    needed, ledger = {desired, facts.edge.release}, state.read_ledger()
    served = [release for release in served_by(ledger.recent) if release not in needed]
    if doubtful(ledger, facts) and (len(served) < number - 1 or not recent(ledger, desired)):
        state.warn(f"{state.folder / LEDGER} does not say which releases are needed: none is removed")
        return []
    kept = needed | {recent(ledger, desired), *served[: number - 1]} | interrupted_targets(state)
    return [release for release in state.kept() if release not in kept]


def interrupted_targets(state: State) -> set[str]:
    """Return what interrupted commands go on with; a migration has a release that never served."""
    with suppress(OSError, OpsError):
        return {cut.target for cut in state.interruptions() if cut.kind != RELEASE}
    return set()


def verdict(state: State, release: str) -> str:
    """Return by what the watch judged a release that is on its way, as the journal has it; empty where that is damaged.

    An interrupted command that was gone on with is the same way: its watch may have been done before.
    """
    with suppress(OpsError, OSError):  # it is a remark on a release that serves
        for line in state.journal():
            if line.get("command") in RELEASING and (line.get("state"), line.get("target")) != ("begin", release):
                break
            if (line.get("step"), line.get("state"), line.get("target")) == ("Watch", "done", release):
                return str(line.get("verdict") or "")
    return ""


def watch_of(state: State, release: str | None) -> str:
    """Return by what a release was judged when it was deployed last, as the ledger has it; empty where damaged."""
    with suppress(OpsError, OSError):
        for entry in reversed(state.ledger()):
            if (entry.release, entry.command, entry.outcome) == (release, "deploy", "in service"):
                return entry.watch
    return ""


def migrated_revision(run: Run) -> str | None:
    """Return the schema revision that this release migrated to."""
    schema = run.state.schema()
    return schema.revision if schema and schema.release == run.release.id else None


def make_record(
    release: Release, command: str, started: str, colour: str, generation: int, schema_fits: str = "",
    unscanned: str = "",
) -> Record:  # fmt: skip
    """Begin a line of the ledger."""
    return Record(
        release=release.id, revision=release.revision, commit_time=release.commit_time, command=command,
        started=started, outcome="in service", colour=colour, generation=generation, schema_revision=None,
        who=locks.who(), seconds=0, schema_fits=schema_fits, unscanned=unscanned,
    )  # fmt: skip
