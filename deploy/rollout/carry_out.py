"""Carry a release out: plan, do it, write down what came of it, tell people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import GateClosed, Interrupted, OpsError, Unreachable, acting, of_ours
from deploy.core.model import Record
from deploy.rollout.execute import execute_all
from deploy.rollout.lineage import head, record_of, schema_of, verdict
from deploy.rollout.plan import Plan
from deploy.rollout.planning import joined, planned, whole
from deploy.rollout.unwind import failed, interrupted
from deploy.site import hooks, notify
from deploy.site.event import Event
from deploy.site.facts import serving
from deploy.site.run import Fleet, Run
from deploy.state import lock
from deploy.state.store import moment, now


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
    started, began, target, at = begins(fleet), time.monotonic(), fleet.release, fleet.at
    fleet = joined(fleet.observed(fleet.each(whole)))
    plans = planned(fleet, command, anew)
    served = ", ".join(dict.fromkeys(run.facts.edge.release for run in fleet.runs if run.facts.edge.release))
    event = Event(command, "begins", target.id, target.commit, before=served, who=lock.who())
    towards = {name: (known.colour, known.generation) for name, known in plans.items()}
    if not any(known.steps for known in plans.values()) and all(run.facts.accepted == target.id for run in fleet.runs):
        fleet.each(lambda run: run.state.note(command=command, state="done", target=target.id) if run.state.intention() else None)
        notify.tell(*at.machine, replace(event, outcome="unchanged", serves=serving(at)))
        return came_of(target.id, towards, changed=False)
    if not resumed:
        hooks.gate(at.settings, event)
    entries = {name: record_of(target, command, started, *towards[name]) for name in plans}
    try:
        attempt(fleet, plans, entries, event)
        seconds = round(time.monotonic() - began, 1)
        verdicts = fleet.each(lambda run: verdict(run.state, target.id))
        ended = {name: entry.model_copy(update={"seconds": seconds, "watch": verdicts[name]}) for name, entry in entries.items()}
        warning = accept(fleet, ended, event)
    except KeyboardInterrupt:
        raise interrupted(at, event, "interrupted") from None
    told = f"release {target.id} ({towards[fleet.runs[0].host.name][0]})" if len(fleet.runs) == 1 else serving(at)
    unjudged = ", ".join(name for name, known in verdicts.items() if known == "unknown")
    warning = "; ".join(filter(None, [warning, unjudged and f"the verdict of the watch is UNKNOWN on {unjudged}"]))
    tell_success(at, replace(event, outcome="in service", serves=told, seconds=seconds, warning=warning))
    if unjudged:
        raise undecided_watch(at, target.id, unjudged)
    return came_of(target.id, towards, changed=True, seconds=seconds)


def undecided_watch(at: Environment, release: str, where: str) -> GateClosed:
    """Say that nothing could judge a release, and that there was nothing to go back to."""
    told = f"release {release} is in service, and the verdict of its watch is UNKNOWN: neither the edge's log nor a probe could judge it"
    return GateClosed(told, where=where, serves=serving(at), then=acting("inv status shows what visitors get; inv logs", at.settings.env))


def begins(fleet: Fleet) -> str:
    """Return the time at which a command begins: now, and later than all that is written down, whoever's clock that was of."""
    latest = [entry.started for ledger in fleet.each(lambda run: run.state.ledger()[-1:]).values() for entry in ledger]
    return max([now(), *(moment(datetime.fromisoformat(started) + timedelta(seconds=1)) for started in latest)])


def attempt(fleet: Fleet, plans: Mapping[str, Plan], entries: Mapping[str, Record], event: Event) -> None:
    """Do the plans; on a failure go back to what served, unless that is not possible now."""

    def begin(run: Run) -> None:
        entry = entries[run.host.name]
        known = {"command": entry.command, "target": entry.release, "started": entry.started}
        run.note(**known, state="begin", serving=run.facts.edge.release)

    try:
        fleet.each(begin)
        execute_all(fleet, {name: known.steps for name, known in plans.items()})
    except Interrupted as lost:
        raise interrupted(fleet.at, event, lost.what, lost.where) from None
    except Exception as error:
        if isinstance(error, Unreachable) and len(fleet.runs) == 1:  # nothing can be taken back there now
            raise interrupted(fleet.at, event, error.what, error.where) from None
        raise failed(fleet, entries, event, of_ours(error, str(fleet.at.settings.state_dir))) from error


def accept(fleet: Fleet, entries: Mapping[str, Record], event: Event) -> str:
    """Write down that the release serves; return a warning where that was not possible."""
    try:
        return write_down(fleet, entries)
    except OpsError as error:  # a host is gone, or the lock
        raise interrupted(fleet.at, event, error.what, error.where) from None


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
