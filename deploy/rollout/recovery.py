"""After an interruption: go on, or go back. The journal says what was wanted, the facts say what is."""

from __future__ import annotations

from contextlib import suppress

from deploy import console, lock
from deploy.errors import Locked, Refused
from deploy.hosts.host import Host
from deploy.model import EdgeFacts
from deploy.rollout import preflight
from deploy.rollout.carry_out import Outcome, carry_out
from deploy.rollout.execute import execute
from deploy.rollout.facts import observe, telling
from deploy.rollout.lineage import record_of, schema_of
from deploy.rollout.plan import back
from deploy.rollout.run import Run
from deploy.settings import Settings
from deploy.state import Intention, State


def resume(settings: Settings, host: Host) -> Outcome | None:
    """Go on towards what the interrupted command wanted; None when nothing was interrupted.

    A journal that lost that line leaves what the edge serves: then it is that release that is brought to its end.
    """
    state = State(host, settings.state_dir)
    with telling(settings, host), lock.held(settings.state_dir, "resume"):
        known, facts = state.intention(), observe(settings, host, state)
        target = known.target if known else facts.edge.release
        if not target:
            return None
        outcome = carry_out(Run(settings, host, state, state.bundle(target)), known.command if known else "deploy", resumed=True)
        return outcome if known or outcome.changed else None


def abort(settings: Settings, host: Host) -> Outcome | None:
    """Go back to the release that the ledger calls in service, whatever was begun since; None when there is nothing to undo."""
    state = State(host, settings.state_dir)
    with telling(settings, host), lock.held(settings.state_dir, "abort"):
        known, facts = state.intention(), observe(settings, host, state)
        bundle = state.bundle(facts.accepted) if facts.accepted else None
        if bundle and facts.edge.release != facts.accepted:
            preflight.schema_fits(bundle.release, schema_of(state, bundle.release.id), facts.schema, facts.serving)
        steps = back(bundle.release.scaled(state.scale()) if bundle else None, facts)
        if not (steps or known):
            return None
        unwanted = bundle or state.bundle(known.target if known else str(facts.edge.release))
        execute(Run(settings, host, state, unwanted, going_back=True), steps)
        after = observe(settings, host, state).edge
        if known:
            write_down(state, known, after)
        return Outcome(after.release or "", after.colour or "", after.generation, bool(steps), 0.0)


def unlock(settings: Settings, *, yes: bool) -> str:
    """End the operator that holds the lock; return what was found and done. A dead one never holds it."""
    held = lock.holder(settings.state_dir)
    if held is None:
        return "nobody holds the lock"
    process, words = held
    console.confirm(f"{words}. Ending it leaves its deploy interrupted.", yes=yes)
    if not process or not lock.end(settings.state_dir, process):
        raise Locked(words, where=str(settings.state_dir / "lock"), then=f"end process {process} there, then inv resume or inv abort")
    return f"{words}; it was ended. inv resume goes on, inv abort goes back"


def write_down(state: State, known: Intention, after: EdgeFacts) -> None:
    """Say in ledger and journal that a command was aborted; of a release without a bundle there is no more to say."""
    with suppress(Refused):
        release = state.bundle(known.target).release
        entry = record_of(release, known.command, known.since, after.colour or "", after.generation)
        state.record(entry.model_copy(update={"outcome": "aborted"}))
    state.note(command=known.command, state="aborted", target=known.target)
