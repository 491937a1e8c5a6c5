"""Carry a release out: plan, do it, write down what came of it, tell people."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from deploy import console, hooks, lock, notify
from deploy.environment import Environment
from deploy.errors import Interrupted, MachineFailed, OpsError, Unreachable, acting
from deploy.event import Event
from deploy.model import Record
from deploy.rollout.execute import execute_all
from deploy.rollout.facts import serving
from deploy.rollout.lineage import head, record_of, schema_of
from deploy.rollout.planning import planned, whole
from deploy.rollout.run import Fleet, Run
from deploy.rollout.unwind import failed, interrupted
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
    begun = {"command": command, "state": "begin", "target": target.id, "started": started}
    fleet.each(lambda run: run.state.note(**begun, serving=before[run.host.name].edge.release))
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
    try:
        warning = write_down(fleet, {name: entry.model_copy(update={"seconds": seconds}) for name, entry in entries.items()})
    except OpsError as error:  # a host is gone, or the lock; the release serves
        raise interrupted(at, event, error.what, error.where) from None
    told = f"release {target.id} ({towards[fleet.runs[0].host.name][0]})" if len(fleet.runs) == 1 else serving(at)
    tell_success(at, replace(event, outcome="in service", serves=told, seconds=seconds, warning=warning))
    return came_of(target.id, towards, changed=True, seconds=seconds)


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
