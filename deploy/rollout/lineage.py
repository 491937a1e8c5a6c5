"""What the records of a host say of its releases: which served before which, which are needed, how one was judged."""

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


def previous_release(state: State, facts: Facts) -> str:
    """Return the release that a rollback goes to; raise Refused when there is none.

    Where lines of the ledger are damaged or gone, the journal says it, or what is stopped in the idle colour.
    """
    release, ledger = facts.edge.release or facts.accepted, state.read_ledger()
    if previous := previous_by_ledger(ledger, release):
        return previous
    incomplete = may_lack_lines(ledger, facts)
    previous = previous_by_journal(state, release) or (previous_by_idle_colour(state, facts) if incomplete else None)
    if previous:
        reason = f"{state.folder / LEDGER} does not say which release served before {release}"
        console.warn(f"{reason}; by what is left it was {previous}")
        return previous
    unknown = f"no record says which release served before {release}, and no stopped containers show it"
    raise Refused(
        unknown if incomplete else "there is no earlier release to go back to",
        where=str(state.folder / LEDGER),
        then="inv history, then inv rollback --to=RELEASE" if incomplete else "inv history",
        slug="no-earlier-release",
    )


def may_lack_lines(ledger: Ledger, facts: Facts) -> bool:
    """Tell whether lines may be missing that say which release was before: damaged ones, or that of what serves."""
    return not ledger.whole or facts.unrecorded


def previous_by_ledger(ledger: Ledger, release: str | None) -> str | None:
    """Return the release before one, by the lines of which none is missing. Pure.

    None where the line of its own deploy may be missing.
    """
    commands = {e.command for e in ledger.recent if e.release == release and e.outcome == "in service"}
    deploy_is_missing = not ledger.whole and commands and "deploy" not in commands
    return None if deploy_is_missing else served_before_deploy(ledger.recent, release)


def served_before_deploy(entries: Sequence[Record], release: str | None) -> str | None:
    """Return what served when a release was deployed last, so that going back twice goes back by two. Pure."""
    served = [entry for entry in entries if entry.outcome == "in service"]
    deploys = [at for at, entry in enumerate(served) if entry.release == release and entry.command == "deploy"]
    before = [entry.release for entry in served[: deploys[-1] if deploys else None] if entry.release != release]
    return before[-1] if before else None


def previous_by_journal(state: State, release: str | None) -> str | None:
    """Return what served when a release was deployed last: the first line of that deploy says it."""
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


def previous_by_idle_colour(state: State, facts: Facts) -> str | None:
    """Return the one release that the idle colour has; None for one that did not end well, or that a rollback left."""
    idle = facts.of(other(facts.edge.colour))
    releases = {c.release for c in idle}
    if len(releases) != 1 or is_rolled_back(state):
        return None
    release = releases.pop()
    last = next((str(line["state"]) for line in state.commands(*RELEASING) if line.get("target") == release), "")
    return release if last == "done" or not (last or any(c.alive for c in idle)) else None


def is_rolled_back(state: State) -> bool:
    """Tell, by journal or ledger, whether a rollback came last: then the idle colour has what was left."""
    done = (line["command"] for line in state.commands(*RELEASING) if line["state"] == "done")
    served = (entry.command for entry in reversed(state.read_ledger().recent) if entry.outcome == "in service")
    return "rollback" in (next(done, ""), next(served, ""))


def expired_releases(state: State, desired: str, facts: Facts, number: int) -> list[str]:
    """Return the kept releases beyond `number` that nothing needs: not what serves, is desired, or a rollback goes to.

    None while the ledger cannot say which these are: lines of it cannot be read, and too few came after them.
    """
    needed, ledger = {desired, facts.edge.release}, state.read_ledger()
    previous = previous_by_ledger(ledger, desired)
    served = [release for release in served_by(ledger.recent) if release not in needed]
    if may_lack_lines(ledger, facts) and (len(served) < number - 1 or not previous):
        state.warn(f"{state.folder / LEDGER} does not say which releases are needed: none is removed")
        return []
    needed |= {previous, *served[: number - 1]} | interrupted_targets(state)
    return [release for release in state.kept() if release not in needed]


def interrupted_targets(state: State) -> set[str]:
    """Return what interrupted commands go on with; a migration has a release that never served."""
    with suppress(OSError, OpsError):
        return {one.target for one in state.interruptions() if one.kind != RELEASE}
    return set()


def verdict_by_journal(state: State, release: str) -> str:
    """Return the verdict of the watch on a release that is being put into service; empty where the journal is damaged.

    A resumed command goes on with the interrupted one, whose watch may have ended before.
    """
    with suppress(OpsError, OSError):  # it is a remark on a release that serves
        for line in state.journal():
            if line.get("command") in RELEASING and (line.get("state"), line.get("target")) != ("begin", release):
                break
            if (line.get("step"), line.get("state"), line.get("target")) == ("Watch", "done", release):
                return str(line.get("verdict") or "")
    return ""


def verdict_by_ledger(state: State, release: str | None) -> str:
    """Return the verdict of the watch on a release when it was deployed last; empty where the ledger is damaged."""
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
