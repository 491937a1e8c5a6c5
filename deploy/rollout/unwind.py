"""What a failure or an interruption leaves: what served before, or a choice for a person; written down, and told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from deploy import console, hooks, notify
from deploy.environment import Environment
from deploy.errors import Interrupted, OpsError, acting
from deploy.event import Event
from deploy.model import Facts, Record
from deploy.rollout import plan
from deploy.rollout.execute import return_all
from deploy.rollout.facts import observe, serving
from deploy.rollout.health import seen_behind
from deploy.rollout.planning import others
from deploy.rollout.run import Fleet, Run


def failed(fleet: Fleet, before: Mapping[str, Facts], entries: Mapping[str, Record], event: Event, error: OpsError) -> OpsError:
    """Go back to what served before, write the failure down, and say what serves now."""
    if fleet.at.settings.fronts:
        error.what = "\n".join([error.what, *(told for told in fleet.each(seen_behind).values() if told and told not in error.what)])
    if held := held_back(fleet, before):
        return hold(fleet, before, held, event, error)
    console.warn("that failed; going back to what served before")
    go_back(fleet.runs, fleet, before)

    def record(run: Run) -> None:
        entry = entries[run.host.name]
        try:
            run.state.record(entry.model_copy(update={"outcome": "failed"}))
            run.state.note(command=entry.command, state="failed", target=entry.release, error=error.what)
        except (OSError, OpsError) as full:
            console.warn(f"the failure could not be written down: {full}")

    fleet.each(record)
    error.serves = serving(fleet.at)
    error.then = acting(error.then or "mend it, then inv deploy", fleet.at.settings.env)
    error.code = OpsError.code  # it was tried, whatever the cause
    told = replace(event, outcome="failed", serves=error.serves, error=error.what, then=error.then)
    hooks.follow(fleet.at.settings, "on_failure", told)
    notify.tell(*fleet.at.machine, told)
    return error


def held_back(fleet: Fleet, before: Mapping[str, Facts]) -> list[Run]:
    """Return the hosts that serve the new release already and are to keep it: none unless `rollout.on_failure` is hold."""
    if fleet.at.settings.rollout.on_failure != "hold" or len(fleet.runs) == 1:
        return []

    def switched(run: Run) -> bool:
        try:
            return observe(run.settings, run.host, run.state).edge.release == run.release.id != before[run.host.name].edge.release
        except (OpsError, OSError):
            return False

    found = fleet.each(switched)
    return [run for run in fleet.runs if found[run.host.name]]


def hold(fleet: Fleet, before: Mapping[str, Facts], held: list[Run], event: Event, error: OpsError) -> Interrupted:
    """Leave the hosts that have switched as they are, take the others back, and leave the choice to a person."""
    console.warn(f"that failed; {', '.join(run.host.name for run in held)}: the new release stays there, the others go back")
    go_back([run for run in fleet.runs if run not in held], fleet, before)
    return interrupted(fleet.at, event, f"held after a failure:\n{error.what}", error.where)


def go_back(runs: Iterable[Run], fleet: Fleet, before: Mapping[str, Facts]) -> None:
    """Plan from what is there now back to what served, and do it; a second failure is said, the first is the one to report.

    A run that was resumed after its switch found its own release serving: it goes back to the one that was accepted.
    """

    def look(run: Run) -> tuple[Facts, Run, bool] | None:
        edge, accepted = before[run.host.name].edge, before[run.host.name].accepted
        served = edge.release if edge.release != run.release.id else accepted or edge.release
        try:
            bundle = run.state.bundle(served) if served else None
            return observe(run.settings, run.host, run.state), replace(run, bundle=bundle or run.bundle, going_back=True), bool(bundle)
        except Exception as error:  # noqa: BLE001  # whatever it is, the first failure must still be written down
            console.warn(f"going back failed as well:\n{error}")
            return None

    found = {name: known for name, known in fleet.each(look, runs).items() if known}
    returning = tuple(run for _, run, _ in found.values())
    beside = others(returning, {name: facts for name, (facts, *_) in found.items()})
    plans = {name: plan.back(run.release if known else None, facts, beside) for name, (facts, run, known) in found.items()}
    return_all(Fleet(fleet.at, returning), plans)


def interrupted(at: Environment, event: Event, why: str, where: str = "") -> Interrupted:
    """Say in which state Ctrl-C, or the loss of the lock or of a connection, left things."""
    serves, then = serving(at), acting("inv resume goes on, inv abort goes back", at.settings.env)
    notify.tell(*at.machine, replace(event, outcome="interrupted", serves=serves, then=then))
    return Interrupted(f"{why}; nothing was undone", where=where, serves=serves, then=then)
