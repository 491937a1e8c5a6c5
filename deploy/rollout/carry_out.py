"""Carry a release out: plan, do it, write down what came of it, tell people; on a failure go back to what served."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from deploy import console, hooks, lock, notify
from deploy.environment import Environment
from deploy.errors import Interrupted, MachineFailed, OpsError, Unreachable, acting
from deploy.event import Event
from deploy.model import Facts, Record
from deploy.rollout import plan
from deploy.rollout.execute import execute, execute_all, return_all
from deploy.rollout.facts import observe, serving
from deploy.rollout.health import seen_behind
from deploy.rollout.lineage import head, record_of, schema_of, too_old
from deploy.rollout.run import Fleet, Run
from deploy.state import now


@dataclass(frozen=True)
class Place:
    """What serves on one host after a command."""

    name: str
    colour: str
    generation: int


@dataclass(frozen=True)
class Outcome:
    """What came of a command: the release that serves, where, whether anything had to be done, seconds."""

    release: str
    colour: str
    generation: int
    changed: bool
    seconds: float
    hosts: tuple[Place, ...]


def came_of(release: str, hosts: Mapping[str, tuple[str, int]], *, changed: bool, seconds: float = 0) -> Outcome:
    """Put an outcome together; its own colour and generation are those of the first host."""
    places = tuple(Place(name, *hosts[name]) for name in sorted(hosts))
    return Outcome(release, places[0].colour, places[0].generation, changed, seconds, places)


def carry_out(fleet: Fleet, command: str, *, anew: Mapping[str, tuple[str, ...]] | None = None, resumed: bool = False) -> Outcome:
    """Plan from the facts, do it, and write down what came of it; on a failure go back to what served.

    What `resumed` has passed its before_deploy hook already. `anew` names shared services to recreate, by host.
    """
    started, began, target, at = now(), time.monotonic(), fleet.release, fleet.at
    before = fleet.each(whole)
    plans = planned(fleet, before, command, anew)
    served = ", ".join(dict.fromkeys(facts.edge.release for facts in before.values() if facts.edge.release))
    event = Event(command, "begins", target.id, target.commit, before=served, who=lock.who())
    towards = {name: (known.colour, known.generation) for name, known in plans.items()}
    if not any(known.steps for known in plans.values()) and all(facts.accepted == target.id for facts in before.values()):
        fleet.each(lambda run: run.state.note(command=command, state="done", target=target.id) if run.state.intention() else None)
        notify.tell(*at.machine, replace(event, outcome="unchanged", serves=serving(at)))
        return came_of(target.id, towards, changed=False)
    if not resumed:
        hooks.gate(at.settings, event)
    fleet.each(lambda run: run.state.note(command=command, state="begin", target=target.id, serving=before[run.host.name].edge.release))
    entries = {name: record_of(target, command, started, *towards[name]) for name in plans}
    try:
        execute_all(fleet, {name: known.steps for name, known in plans.items()})
    except Interrupted as lost:
        raise interrupted(at, event, lost.what, lost.where) from None
    except OpsError as error:
        if isinstance(error, Unreachable) and len(fleet.runs) == 1:  # nothing can be taken back there now
            raise interrupted(at, event, error.what, error.where) from None
        raise failed(fleet, before, entries, event, error) from None
    except OSError as error:
        raise failed(fleet, before, entries, event, MachineFailed(error, str(at.settings.state_dir))) from error
    except Exception as error:
        raise failed(fleet, before, entries, event, OpsError(f"{type(error).__name__}: {error}")) from error
    except KeyboardInterrupt:
        raise interrupted(at, event, "interrupted") from None
    seconds = round(time.monotonic() - began, 1)
    warning = write_down(fleet, {name: entry.model_copy(update={"seconds": seconds}) for name, entry in entries.items()})
    told = f"release {target.id} ({towards[fleet.runs[0].host.name][0]})" if len(fleet.runs) == 1 else serving(at)
    tell_success(at, replace(event, outcome="in service", serves=told, seconds=seconds, warning=warning))
    return came_of(target.id, towards, changed=True, seconds=seconds)


def planned(
    fleet: Fleet, facts: Mapping[str, Facts], command: str, anew: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, plan.Plan]:  # fmt: skip
    """Plan each host towards the fleet's release."""
    chosen, beside = fleet.at.settings.rollout, others(fleet.runs, facts)

    def towards(run: Run) -> plan.Plan:
        known = facts[run.host.name]
        return plan.towards(
            run.release, known, forward=command == "deploy", watch=chosen.watch > 0, warm=chosen.keep_warm,
            anew=(anew or {}).get(run.host.name, ()), old=too_old(run, known), others=beside,
        )  # fmt: skip

    return fleet.each(towards)


def others(runs: Iterable[Run], facts: Mapping[str, Facts]) -> plan.Others:
    """Look at all hosts of one edge together."""
    tied = [(run.release, facts[run.host.name]) for run in runs if run.settings.fronts]
    lacking = any(known.edge.release == wanted.id and not plan.carries(wanted, str(known.edge.colour), known) for wanted, known in tied)
    behind = (c for _, known in tied if known.edge.front for c in known.containers if c.role == "web" and c.alive)
    return plan.Others(lacking, frozenset(c.colour for c in behind))


def whole(run: Run) -> Facts:
    """Observe; where another release is half in service, go back to the one before it first."""
    facts = observe(run.settings, run.host, run.state)
    earlier = plan.undone_first(run.release, facts)
    if not earlier:
        return facts
    console.say(f"release {facts.edge.release} is half in service: back to {earlier} first")
    back = replace(run, bundle=run.state.bundle(earlier), going_back=True)
    execute(back, plan.back(back.release, facts))
    return observe(run.settings, run.host, run.state)


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
    console.warn(f"that failed; {', '.join(run.host.name for run in held)} keeps the new release, the others go back")
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


def write_down(fleet: Fleet, entries: Mapping[str, Record]) -> str:
    """Write a release that serves into the ledger; return a warning when the disk is full: that does not make it a bad release."""

    def write(run: Run) -> str:
        entry = entries[run.host.name]
        try:
            schema = schema_of(run.state, entry.release) or head(run)
            run.state.record(entry.model_copy(update={"schema_revision": schema}))
            run.state.note(command=entry.command, state="done", target=entry.release)
        except OSError as full:
            warning = f"that could not be written down: {full.strerror}"
            console.warn(acting(f"release {entry.release} serves, but {warning}; make room, then inv resume", run.settings.env))
            return warning
        return ""

    return "; ".join(dict.fromkeys(filter(None, fleet.each(write).values())))


def tell_success(at: Environment, done: Event) -> None:
    """Run the hook and tell people; whoever interrupts that finds a deploy that is done."""
    try:
        warnings = (done.warning, hooks.follow(at.settings, "after_deploy", done))
        notify.tell(*at.machine, replace(done, warning="; ".join(filter(None, warnings))))
    except KeyboardInterrupt:
        console.warn(f"interrupted once {done.serves} was in service; not everybody was told")


def interrupted(at: Environment, event: Event, why: str, where: str = "") -> Interrupted:
    """Say in which state Ctrl-C, or the loss of the lock or of a connection, left things."""
    serves, then = serving(at), acting("inv resume goes on, inv abort goes back", at.settings.env)
    notify.tell(*at.machine, replace(event, outcome="interrupted", serves=serves, then=then))
    return Interrupted(f"{why}; nothing was undone", where=where, serves=serves, then=then)
