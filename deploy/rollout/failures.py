"""What follows a failure or an interruption: what served before, or a choice for a person; recorded and reported."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Interrupted, Locked, OpsError, Unreachable, acting, to_ops_error
from deploy.core.facts import Facts
from deploy.core.model import Record
from deploy.rollout.health import diagnose_behind_front
from deploy.rollout.kept_release import after_failed_rollback
from deploy.rollout.revert import is_reverted, reversal_after_failure, revert, served_before
from deploy.site import hooks, notify
from deploy.site.event import Event
from deploy.site.facts import observe, what_serves
from deploy.site.run import Fleet, Run

CHOICE = "inv resume goes on, inv abort goes back"


@dataclass(frozen=True)
class Split:
    """How a failure left the hosts with different releases: what is so, and the commands that a person chooses from."""

    state: str
    then: str = CHOICE


def revert_and_report(fleet: Fleet, entries: Mapping[str, Record], event: Event, cause: Exception) -> OpsError:
    """Go back to what served before, record the failure and notify; return the error that says what serves now.

    Where hosts are apart after that, or nothing can be undone now, a person has the choice: an Interrupted.
    """
    at, error = fleet.at, to_ops_error(cause, str(fleet.at.settings.state_dir))
    if isinstance(error, Interrupted) or (isinstance(error, Unreachable) and len(fleet.runs) == 1):
        return report_interrupted(at, event, error.what, error.where)
    if at.settings.fronts:
        behind = [words for words in fleet.each(diagnose_behind_front).values() if words and words not in error.what]
        error.what = "\n".join([error.what, *behind])
    split = revert_failed(fleet, error)
    if split:
        return report_split(at, event, error, split)
    fleet.each(lambda run: record_failure(run, entries[run.host.name], error.what))
    then = after_failed_rollback(fleet, error.then) if event.command == "rollback" else error.then
    error.serves, error.then = what_serves(at), acting(then or "fix it, then inv deploy", at.settings.env)
    error.code = error.code if isinstance(error, Locked) else OpsError.code  # it was tried, whatever the cause
    report_failure(at, replace(event, outcome="failed", serves=error.serves, error=error.what, then=error.then))
    return error


def record_failure(run: Run, entry: Record, reason: str) -> None:
    """Record on one host that a command failed; a full disk is a warning."""
    try:
        took = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(entry.started)).total_seconds())
        run.state.record(entry.model_copy(update={"outcome": "failed", "seconds": round(took, 1)}))
        run.state.note(command=entry.command, state="failed", target=entry.release, error=reason)
    except (OSError, OpsError) as full:
        console.warn(f"the failure could not be written down: {full}")


def report_failure(at: Environment, event: Event) -> None:
    """Run the hook and notify; Ctrl-C meanwhile is a warning, so that the failure is still printed."""
    try:
        hooks.follow(at.settings, "on_failure", event)
        notify.send(*at.machine, event)
    except KeyboardInterrupt:
        console.warn("interrupted once all had gone back; some notifications were not sent")


def revert_failed(fleet: Fleet, error: OpsError) -> Split | None:
    """Take the hosts back to what served before; return how they are split after that, None where one release serves.

    With `rollout.on_failure` hold the hosts that have switched without a failure keep the new release.
    """
    if irreversible := why_irreversible(fleet):
        return irreversible
    at = fleet.at
    observed, unreachable = at.gather(lambda host: observe(at.settings, host), [run.host for run in fleet.runs])
    held = held_hosts(fleet, observed, error.hosts)
    held_names = ", ".join(run.host.name for run in held)
    reverting = [run for run in fleet.runs if run not in held]
    if held:
        error.what = f"held after a failure:\n{error.what}"
        console.warn(f"that failed; {held_names}: the new release stays there, the others go back")
    else:
        console.warn("that failed; going back to what served before")
    for failure in unreachable.values():
        console.warn(f"going back failed as well:\n{failure}")
    stays = f"the new release stays on {held_names}, " if held else ""
    try:
        stuck = hosts_not_reverted(reverting, revert_hosts(fleet, reverting, observed), fleet)
    except KeyboardInterrupt:
        interrupted = "and going back was interrupted on the others" if held else "going back was interrupted"
        return Split(f"{stays}{interrupted}")
    if stuck:
        return Split(f"{stays}{stuck} could not be taken back", f"once {stuck} can be reached, {CHOICE}")
    return Split(f"{stays}the others went back") if held else reverted_apart(fleet)


def why_irreversible(fleet: Fleet) -> Split | None:
    """Say why nothing is undone: the release serves everywhere, or no record says what served before it."""
    target = fleet.release.id
    accepted = {run.facts.accepted for run in fleet.runs} - {None}
    serving = [run for run in fleet.runs if run.facts.edge.release == target]
    if target in accepted and len(accepted) > 1 and len(serving) == len(fleet.runs):
        return Split("nothing was undone, since it serves everywhere", "inv resume goes on")
    if unrecorded := ", ".join(run.host.name for run in serving if run.facts.unrecorded):
        state = f"nothing was undone: the ledger of {unrecorded} does not say what served before it"
        return Split(state, "inv resume goes on, inv rollback --to=RELEASE goes back")
    return None


def reverted_apart(fleet: Fleet) -> Split | None:
    """Say which release each host went back to, where these differ."""
    releases = {run.host.name: served_before(run) for run in fleet.runs}
    if len({*releases.values()} - {None}) <= 1:
        return None
    words = ", ".join(f"{name} to {release or 'none'}" for name, release in releases.items())
    return Split(f"each host went back to what it had served: {words}")


def held_hosts(fleet: Fleet, observed: Mapping[str, Facts], bad: Collection[str]) -> list[Run]:
    """Return the hosts that have switched and keep the new release: with `rollout.on_failure` hold those not `bad`.

    Behind one edge none can: one switch moves all.
    """
    if fleet.at.settings.rollout.on_failure != "hold" or len(fleet.runs) == 1 or fleet.at.settings.fronts:
        return []
    kept = [run for run in fleet.runs if run.host.name in observed and run.host.name not in bad]
    return [run for run in kept if observed[run.host.name].edge.release == run.release.id != run.facts.edge.release]


def revert_hosts(fleet: Fleet, runs: Iterable[Run], observed: Mapping[str, Facts]) -> set[str]:
    """Take some hosts of a fleet back to what they served.

    Return those that are not whole again, or kept others from it.
    """
    there = [run for run in runs if run.host.name in observed]
    ways = fleet.each(lambda run: reversal_after_failure(run, observed[run.host.name]), there)
    return revert(fleet.at, {name: way for name, way in ways.items() if way}, failed=fleet)


def hosts_not_reverted(runs: Iterable[Run], stuck: Collection[str], fleet: Fleet) -> str:
    """Name the hosts that do not serve what they served before, and those that got `stuck` on the way back."""
    return ", ".join(name for name, back in fleet.each(is_reverted, runs).items() if name in stuck or not back)


def report_split(at: Environment, event: Event, error: OpsError, split: Split) -> Interrupted:
    """Report, as failures are, that one left hosts apart; return what leaves the choice to a person."""
    left = report_interrupted(at, event, error.what, error.where, split.state, split.then)
    apart = replace(event, outcome="interrupted", serves=left.serves, error=left.what, then=left.then)
    hooks.follow(at.settings, "on_failure", apart)
    return left


def report_interrupted(
    at: Environment, event: Event, why: str, where: str = "", state: str = "nothing was undone", then: str = CHOICE
) -> Interrupted:  # fmt: skip
    """Report how Ctrl-C, or the loss of the lock or of a connection, left things; return that as an error."""
    then = acting(then, at.settings.env)
    left = Interrupted(f"{why}; {state}", where=where, serves=what_serves(at), then=then)
    notify.send(*at.machine, replace(event, outcome="interrupted", serves=left.serves, error=left.what, then=then))
    return left
