"""What a failure or an interruption leaves: what served before, or a choice for a person; written down, and told."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Interrupted, OpsError, acting
from deploy.core.model import Record
from deploy.rollout import drift, plan
from deploy.rollout.execute import return_all
from deploy.rollout.health import seen_behind
from deploy.rollout.planning import others
from deploy.rollout.steps import Step
from deploy.site import hooks, notify, rebuild
from deploy.site.event import Event
from deploy.site.facts import observe, serving
from deploy.site.run import Fleet, Run

CHOICE = "inv resume goes on, inv abort goes back"


def failed(fleet: Fleet, entries: Mapping[str, Record], event: Event, error: OpsError) -> OpsError:
    """Go back to what served before, write the failure down, and say what serves now; or leave the choice to a person."""
    if fleet.at.settings.fronts:
        error.what = "\n".join([error.what, *(told for told in fleet.each(seen_behind).values() if told and told not in error.what)])
    if left := undone(fleet, event, error):
        return left

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
    try:
        hooks.follow(fleet.at.settings, "on_failure", told)
        notify.tell(*fleet.at.machine, told)
    except KeyboardInterrupt:
        console.warn("interrupted once all had gone back; not everybody was told")
    return error


def undone(fleet: Fleet, event: Event, error: OpsError) -> Interrupted | None:
    """Take all hosts back to what served before; return what leaves it to a person, None when all serve the one release again."""
    ended, target = {run.facts.accepted for run in fleet.runs} - {None}, fleet.release.id
    if target in ended and len(ended) > 1 and all(run.facts.edge.release == target for run in fleet.runs):
        return undecided(fleet.at, event, error, "nothing was undone, since it serves everywhere", "inv resume goes on")
    if unrecorded := [run.host.name for run in fleet.runs if run.facts.unrecorded and run.facts.edge.release == target]:
        told = f"nothing was undone: the ledger of {', '.join(unrecorded)} does not say what served before it"
        return undecided(fleet.at, event, error, told, "inv resume goes on, inv rollback --to=RELEASE goes back")
    if held := held_back(fleet, error.hosts):
        return hold(fleet, held, event, error)
    console.warn("that failed; going back to what served before")
    try:
        left = go_back(fleet.runs, fleet)
    except KeyboardInterrupt:
        return undecided(fleet.at, event, error, "going back was interrupted")
    if away := astray(fleet.runs, left, fleet):
        return undecided(fleet.at, event, error, f"{away} could not be taken back", f"once {away} can be reached, {CHOICE}")
    if len({served_before(run) for run in fleet.runs} - {None}) > 1:
        return undecided(fleet.at, event, error, "each host went back to what it had served, and that was not the same")
    return None


def held_back(fleet: Fleet, bad: Collection[str]) -> list[Run]:
    """Return the hosts that serve the new release and are to keep it: none unless `rollout.on_failure` is hold, and no `bad` one.

    Behind one edge none can: one switch moves all.
    """
    if fleet.at.settings.rollout.on_failure != "hold" or len(fleet.runs) == 1 or fleet.at.settings.fronts:
        return []

    def switched(run: Run) -> bool:
        try:
            return observe(run.settings, run.host).edge.release == run.release.id != run.facts.edge.release
        except (OpsError, OSError):
            return False

    found = fleet.each(switched)
    return [run for run in fleet.runs if found[run.host.name] and run.host.name not in bad]


def hold(fleet: Fleet, held: list[Run], event: Event, error: OpsError) -> Interrupted:
    """Leave the hosts that have switched as they are, take the others back, and leave the choice to a person."""
    names = ", ".join(run.host.name for run in held)
    console.warn(f"that failed; {names}: the new release stays there, the others go back")
    back = [run for run in fleet.runs if run not in held]
    error.what = f"held after a failure:\n{error.what}"
    try:
        away = astray(back, go_back(back, fleet), fleet)
    except KeyboardInterrupt:
        return undecided(fleet.at, event, error, f"the new release stays on {names}, and going back was interrupted on the others")
    state = f"the new release stays on {names}, {f'{away} could not be taken back' if away else 'the others went back'}"
    return undecided(fleet.at, event, error, state, f"once {away} can be reached, {CHOICE}" if away else CHOICE)


def astray(runs: Iterable[Run], left: Collection[str], fleet: Fleet) -> str:
    """Name the hosts that do not serve what they served before, and those that were `left` half way."""
    return ", ".join(name for name, back in fleet.each(returned, runs).items() if name in left or not back)


def served_before(run: Run) -> str | None:
    """Return the release that a run goes back to: one that was resumed after its switch found its own release serving."""
    edge, accepted = run.facts.edge, run.facts.accepted
    return edge.release if edge.release and edge.release != run.release.id else accepted


def returned(run: Run) -> bool:
    """Tell whether a host serves what it served before; where that had no edge, that nothing answers."""
    before = served_before(run)
    try:
        now = observe(run.settings, run.host).edge.release
        return now == before or not (now or run.state.release(str(before)).of("edge"))
    except (OpsError, OSError):
        return False


def go_back(runs: Iterable[Run], fleet: Fleet) -> set[str]:
    """Plan from what is there now back to what served, and do it; a second failure is said, the first is the one to report.

    A host that came with this release goes back to nothing, and no data is started where the release that failed has it no
    more. Returns the hosts that kept others from being whole.
    """

    def look(run: Run) -> tuple[Run, bool, tuple[str, ...], tuple[Step, ...]] | None:
        served = served_before(run)
        try:
            had = any(c.release == served for c in run.facts.containers) or served in run.state.kept()
            facts = observe(run.settings, run.host)
            bundle = rebuild.bundle(run.settings, run.host, served, facts) if served and had else None
            back = replace(run, bundle=bundle or run.bundle, facts=facts, going_back=True)
            _ = back.release, back.leaving  # they are read now, and kept: who breaks later keeps no other from going back
            if not bundle:
                return back, False, (), ()
            return back, True, drift.restorable(back, run.bundle, undoing=True), drift.restorations(back, run.bundle)
        except Exception as error:  # noqa: BLE001  # whatever it is, the first failure must still be written down
            console.warn(f"going back failed as well:\n{error}")
            return None

    found = {name: known for name, known in fleet.each(look, runs).items() if known}
    returning = tuple(run for run, *_ in found.values())
    owners = {service.name: run.host.name for run in fleet.runs for service in run.release.of("data")}
    moved = {s.name for run in returning for s in run.release.of("data") if owners.get(s.name, run.host.name) != run.host.name}
    beside = others(returning)
    beside = replace(beside, data=beside.data | moved)
    plans = {
        name: (*first, *plan.back(run.release if known else None, run.facts, beside, run.leaving, anew=anew))
        for name, (run, known, anew, first) in found.items()
    }
    away = {run.host.name for run in fleet.runs} - found.keys()
    return return_all(Fleet(fleet.at, returning), plans, away, [run.host.name for run in fleet.runs if run.release.of("scheduler")])


def undecided(at: Environment, event: Event, error: OpsError, state: str, then: str = CHOICE) -> Interrupted:
    """Say that a failure left hosts apart, to everybody who hears of failures: a person decides how it goes on."""
    left = interrupted(at, event, error.what, error.where, state, then)
    hooks.follow(at.settings, "on_failure", replace(event, outcome="interrupted", serves=left.serves, error=left.what, then=left.then))
    return left


def interrupted(
    at: Environment, event: Event, why: str, where: str = "", state: str = "nothing was undone", then: str = CHOICE
) -> Interrupted:  # fmt: skip
    """Say in which state Ctrl-C, or the loss of the lock or of a connection, left things."""
    then = acting(then, at.settings.env)
    left = Interrupted(f"{why}; {state}", where=where, serves=serving(at), then=then)
    notify.tell(*at.machine, replace(event, outcome="interrupted", serves=left.serves, error=left.what, then=then))
    return left
