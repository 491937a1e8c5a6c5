"""Which release came before which, by the ledger; and which are kept."""

from __future__ import annotations

from contextlib import suppress

from deploy import lock
from deploy.errors import OpsError, Refused
from deploy.model import Facts, Record, Release
from deploy.rollout.run import Run
from deploy.state import State


def before(state: State, release: str | None) -> str | None:
    """Return the release that served when this one was deployed last; going back twice goes back by two."""
    served = [entry for entry in state.ledger() if entry.outcome == "in service"]
    arrived = [at for at, entry in enumerate(served) if entry.release == release and entry.command == "deploy"]
    earlier = [entry.release for entry in served[: arrived[-1] if arrived else None] if entry.release != release]
    return earlier[-1] if earlier else None


def previous(state: State, facts: Facts) -> str:
    """Return the release that a rollback goes to; raise Refused when there is none."""
    found = before(state, facts.edge.release or facts.accepted)
    if not found:
        raise Refused("there is no earlier release to go back to", where=str(state.folder / "ledger.jsonl"), then="inv history")
    return found


def too_old(state: State, wanted: str, facts: Facts, number: int) -> list[str]:
    """Return the releases beyond the `number` that are kept; what serves, what is wanted and where a rollback goes are never among them."""
    needed = {wanted, facts.edge.release}
    served = [release for release in state.served() if release not in needed]
    kept = needed | {before(state, wanted), *served[: number - 1]}
    return [release for release in state.kept() if release not in kept]


def schema_of(state: State, release: str) -> str | None:
    """Return the schema revision that a release's own code is of, as the ledger has it."""
    known = (entry.schema_revision for entry in reversed(state.ledger()) if entry.release == release)
    return next((revision for revision in known if revision), None)  # a failed try left none


def verdict(state: State, release: str) -> str:
    """Return by what the watch has judged a release that is on its way, as the journal has it; empty where it cannot be read.

    An interrupted command that was gone on with is the same way: its watch may have been done before.
    """
    with suppress(OpsError, OSError):  # it is a remark on a release that serves
        for line in state.journal():
            if "command" in line and (line.get("state"), line.get("target")) != ("begin", release):
                break
            if (line.get("step"), line.get("state"), line.get("target")) == ("Watch", "done", release):
                return str(line.get("verdict") or "")
    return ""


def watch_of(state: State, release: str | None) -> str:
    """Return by what a release was judged when it was deployed last, as the ledger has it; empty where it cannot be read."""
    with suppress(OpsError, OSError):
        for entry in reversed(state.ledger()):
            if (entry.release, entry.command, entry.outcome) == (release, "deploy", "in service"):
                return entry.watch
    return ""


def head(run: Run) -> str | None:
    """Return the schema revision that this release migrated to."""
    schema = run.state.schema()
    return schema.revision if schema and schema.release == run.release.id else None


def record_of(release: Release, command: str, started: str, colour: str, generation: int) -> Record:
    """Begin a line of the ledger."""
    return Record(
        release=release.id, revision=release.revision, command=command, outcome="in service", colour=colour, generation=generation,
        schema_revision=None, who=lock.who(), started=started, seconds=0, commit_time=release.commit_time,
    )  # fmt: skip
