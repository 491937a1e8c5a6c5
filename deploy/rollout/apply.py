"""Apply a release: plan, perform, record, notify."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import GateClosed, OpsError, acting
from deploy.core.model import Record
from deploy.rollout.execute import apply_plans
from deploy.rollout.failures import report_interrupted, revert_and_report
from deploy.rollout.fleet_plan import make_plans
from deploy.rollout.lineage import make_record, migrated_revision, verdict_by_journal
from deploy.rollout.migrations import require_safe
from deploy.rollout.plan import Plan
from deploy.rollout.releases import share_choices
from deploy.rollout.revert import leave_half_served
from deploy.site import hooks, notify
from deploy.site.event import Event
from deploy.site.facts import summary, what_serves
from deploy.site.run import Fleet, Run
from deploy.state import locks
from deploy.state.store import moment, now

REASONS = ("schema_fits", "unscanned")  # a person's; the journal keeps them for whoever goes on


@dataclass(frozen=True)
class Place:
    """What serves on one host after a command."""

    name: str
    colour: str
    generation: int


@dataclass(frozen=True)
class Outcome:
    """What a command led to: the release that serves, on which hosts, whether anything was changed, the seconds taken.

    `colour` and `generation` are those of the first host.
    """

    release: str
    colour: str
    generation: int
    changed: bool
    seconds: float
    hosts: tuple[Place, ...]


def make_outcome(
    release: str, hosts: Mapping[str, tuple[str, int]], *, changed: bool, seconds: float = 0
) -> Outcome:  # fmt: skip
    """Make an outcome of the colour and the generation that each host serves."""
    places = tuple(Place(name, *hosts[name]) for name in sorted(hosts))
    return Outcome(release, places[0].colour, places[0].generation, changed, seconds, places)


def apply(
    fleet: Fleet, command: str, *, recreate: Mapping[str, tuple[str, ...]] | None = None, resumed: bool = False,
    schema_fits: str = "", unscanned: str = "",
) -> Outcome:  # fmt: skip
    """Bring hosts from what was observed on them to their release, and record it; after a failure revert.

    A `resumed` command has passed its before_deploy hook already. `recreate` names shared services by host.
    `schema_fits` is why a person says that the schema fits, `unscanned` why images without a PASS are deployed.

    Raises OpsError once what failed was reverted, Interrupted where a person must choose, and GateClosed where the
    release serves and nothing could judge it.
    """
    started, began, target, at = start_time(fleet), time.monotonic(), fleet.release, fleet.at
    fleet = share_choices(leave_half_served(fleet))
    plans = make_plans(fleet, command, recreate)
    event = Event(command, "begins", target.id, target.commit, before=released(fleet), who=locks.who())
    places = {name: (plan.colour, plan.generation) for name, plan in plans.items()}
    if not any(plan.steps for plan in plans.values()) and all(run.facts.accepted == target.id for run in fleet.runs):
        report_unchanged(fleet, event)
        return make_outcome(target.id, places, changed=False)
    fleet = require_safe(fleet, plans)
    if not resumed:
        hooks.gate(at.settings, event)
    entries = {name: make_record(target, command, started, *places[name], schema_fits, unscanned) for name in plans}
    try:
        perform(fleet, plans, entries, event)
        seconds = round(time.monotonic() - began, 1)
        verdicts = fleet.each(lambda run: verdict_by_journal(run.state, target.id))
        served = {
            name: entry.model_copy(update={"seconds": seconds, "watch": verdicts[name]})
            for name, entry in entries.items()
        }
        unrecorded = record(fleet, served, event)
    except KeyboardInterrupt:
        interrupted = report_interrupted(at, event, "interrupted")
        raise interrupted from None
    unjudged = ", ".join(name for name, judged in verdicts.items() if judged == "unknown")
    warnings = (unrecorded, unjudged and f"the verdict of the watch is UNKNOWN on {unjudged}")
    event = replace(event, seconds=seconds, warning="; ".join(filter(None, warnings)))
    report_success(at, replace(event, outcome="in service", serves=summary(at, served_after(fleet, plans))))
    warn_of_maintenance(fleet)
    if unjudged:
        raise unjudged_release(target.id, unjudged, what_serves(at), at.settings.env)
    return make_outcome(target.id, places, changed=True, seconds=seconds)


def released(fleet: Fleet) -> str:
    """Name the releases that serve before a command, each once."""
    return ", ".join(dict.fromkeys(run.facts.edge.release for run in fleet.runs if run.facts.edge.release))


def warn_of_maintenance(fleet: Fleet) -> None:
    """Warn where visitors do not get the release that was applied, but the maintenance page."""
    if any(run.facts.edge.maintenance for run in fleet.runs):
        warning = "visitors still get the maintenance page; inv maintenance --off ends it"
        console.warn(acting(warning, fleet.at.settings.env))


def start_time(fleet: Fleet) -> str:
    """Return the time at which a command begins: now, or a second after the last record of a clock that was ahead."""
    latest = [entry.started for ledger in fleet.each(lambda run: run.state.ledger()[-1:]).values() for entry in ledger]
    return max([now(), *(moment(datetime.fromisoformat(time) + timedelta(seconds=1)) for time in latest)])


def perform(fleet: Fleet, plans: Mapping[str, Plan], entries: Mapping[str, Record], event: Event) -> None:
    """Perform the plans, the journal first; after a failure revert, unless that is impossible now."""

    def begin(run: Run) -> None:
        entry = entries[run.host.name]
        begun = {"command": entry.command, "target": entry.release, "started": entry.started}
        reasons = {name: reason for name in REASONS if (reason := getattr(entry, name))}
        details = {"details": reasons} if reasons else {}
        run.note(**begun, state="begin", serving=run.facts.edge.release, **details)

    try:
        fleet.each(begin)
        apply_plans(fleet, {name: plan.steps for name, plan in plans.items()})
    except Exception as cause:
        failure = revert_and_report(fleet, entries, event, cause)
        raise failure from cause


def record(fleet: Fleet, entries: Mapping[str, Record], event: Event) -> str:
    """Record that the release serves; return a warning where a disk is full: that does not make the release bad.

    Raises Interrupted where a host or the lock is lost.
    """

    def write(run: Run) -> str:
        entry = entries[run.host.name]
        try:
            frame = run.edge_folder.route().frame
            schema = run.state.schema_of(entry.release) or migrated_revision(run)
            run.state.record(entry.model_copy(update={"schema_revision": schema, "frame": frame}))
            run.state.note(command=entry.command, state="done", target=entry.release)
        except OSError as full:
            unrecorded = f"that could not be written down: {full.strerror}"
            advice = f"release {entry.release} serves, but {unrecorded}; make room, then inv resume"
            console.warn(acting(advice, run.settings.env))
            return unrecorded
        return ""

    try:
        return "; ".join(dict.fromkeys(filter(None, fleet.each(write).values())))
    except OpsError as lost:  # a host, or the lock
        interrupted = report_interrupted(fleet.at, event, lost.what, lost.where)
        raise interrupted from None


def served_after(fleet: Fleet, plans: Mapping[str, Plan]) -> dict[str, str]:
    """Return, in words, what each host serves once its plan was performed: the steps have proved it."""

    def serves(run: Run) -> str:
        plan = plans[run.host.name]
        edge = replace(run.facts.edge, colour=plan.colour, release=plan.release.id, running=True, members=())
        return replace(run.facts, edge=edge).serving

    return {run.host.name: serves(run) for run in fleet.runs}


def report_unchanged(fleet: Fleet, event: Event) -> None:
    """End what the journal may call interrupted, and notify of a command that had nothing to do."""

    def end(run: Run) -> None:
        if run.state.intention():
            run.state.note(command=event.command, state="done", target=event.release)

    fleet.each(end)
    serves = summary(fleet.at, {run.host.name: run.facts.serving for run in fleet.runs})
    notify.send(*fleet.at.machine, replace(event, outcome="unchanged", serves=serves))


def report_success(at: Environment, event: Event) -> None:
    """Run the hook and notify; Ctrl-C meanwhile is a warning, since the deploy is done."""
    try:
        warnings = (event.warning, hooks.follow(at.settings, "after_deploy", event))
        notify.send(*at.machine, replace(event, warning="; ".join(filter(None, warnings))))
    except KeyboardInterrupt:
        console.warn(f"interrupted once {event.serves} was in service; some notifications were not sent")


def unjudged_release(release: str, where: str, serves: str, env: str) -> GateClosed:
    """Return the error for a release that serves, that nothing could judge, and before which there was none."""
    reason = "neither the edge's log nor a probe could judge it"
    what = f"release {release} is in service, and the verdict of its watch is UNKNOWN: {reason}"
    then = acting("inv status shows what visitors get; inv logs", env)
    return GateClosed(what, where=where, serves=serves, then=then, slug="watch-unknown")
