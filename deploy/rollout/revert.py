"""Go back: after a failure, by `inv abort`, or out of a release that is half in service and must be left first."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import OpsError, as_interrupted
from deploy.core.facts import Facts
from deploy.core.model import Release
from deploy.hosts.host import Host
from deploy.rollout import drift, plan
from deploy.rollout.execute import apply_plans, apply_reversals
from deploy.rollout.fleet_plan import fleet_facts
from deploy.rollout.steps import Step
from deploy.site import rebuild
from deploy.site.facts import observe
from deploy.site.run import Fleet, Run, standing_on
from deploy.state.store import Bundle, Intention, State, state_of


@dataclass(frozen=True)
class Reversal:
    """The way back of one host: the release that is to serve there again, and the shared services to restore."""

    run: Run
    desired: Release | None = None  # None where nothing served before
    recreate: tuple[str, ...] = ()  # shared services, by the files of the desired release
    restore: tuple[Step, ...] = ()  # shared services, by the files of other releases
    quieted: bool = True  # workers may have been paused


def revert(
    at: Environment, reversals: Mapping[str, Reversal], *, then: str = "", failed: Fleet | None = None
) -> set[str]:  # fmt: skip
    """Take hosts back, each to its desired release, in step with each other.

    Raises Interrupted, of which `then` is the next command, when a step fails. After the failure of a fleet (`failed`)
    it does not: the other hosts go on. Returns those that did not reach the end, and those that kept others from it.
    """
    back, plans = Fleet(at, tuple(reversal.run for reversal in reversals.values())), steps_back(reversals, failed)
    if failed:
        absent = {run.host.name for run in failed.runs} - reversals.keys()
        scheduling = [run.host.name for run in failed.runs if run.release.of("scheduler")]
        return apply_reversals(back, plans, absent, scheduling)
    with as_interrupted(then):
        apply_plans(back, plans)
    return set()


def steps_back(reversals: Mapping[str, Reversal], failed: Fleet | None = None) -> dict[str, tuple[Step, ...]]:
    """Plan the way back of each host; no data is started that the release which `failed` has on another. Pure."""
    facts, owners = fleet_facts(reversal.run for reversal in reversals.values()), data_hosts(failed)
    moved = {
        service.name for name, reversal in reversals.items() for service in reversal.run.release.of("data")
        if owners.get(service.name, name) != name
    }  # fmt: skip
    facts = replace(facts, data=facts.data | moved)
    return {name: (*one.restore, *plan_back(one, facts)) for name, one in reversals.items()}


def data_hosts(fleet: Fleet | None) -> dict[str, str]:
    """Return on which host a fleet's release has each data service. Pure."""
    runs = fleet.runs if fleet else ()
    return {service.name: run.host.name for run in runs for service in run.release.of("data")}


def plan_back(reversal: Reversal, fleet: plan.FleetFacts) -> tuple[Step, ...]:
    """Plan the way back of one host. Pure."""
    run = reversal.run
    return plan.back(
        reversal.desired, run.facts, fleet, run.serving_release, quieted=reversal.quieted, recreate=reversal.recreate
    )


def make_reversal(run: Run, undone: Bundle | None, *, quieted: bool = True) -> Reversal:
    """Return the way back to a run's release, which restores shared services that the `undone` one broke."""
    run = read_records(replace(run, going_back=True))
    recreate, restore = drift.to_restore(run, undone, undoing=True), drift.restore_steps(run, undone)
    return Reversal(run, run.release, recreate, restore, quieted)


def read_records(run: Run) -> Run:
    """Read a run's records, which it then keeps: a host that fails later keeps no other from going back."""
    _ = run.release, run.serving_release
    return run


def is_there(state: State, release: str | None, facts: Facts) -> bool:
    """Tell whether a host has a release; the one that another host's edge serves may never have been there."""
    return bool(release) and (any(c.release == release for c in facts.containers) or release in state.kept())


def reversal_after_failure(run: Run, facts: Facts) -> Reversal | None:
    """Return the way back to what served when a run began; None, with a warning, where the records do not say it.

    A host that is new in this release goes back to nothing.
    """
    try:
        served = served_before(run)
        if not served or not is_there(run.state, served, run.facts):
            return Reversal(read_records(replace(run, facts=facts, going_back=True)))
        bundle = rebuild.bundle(run.settings, run.host, served, facts)
        return make_reversal(replace(run, bundle=bundle, facts=facts), run.bundle)
    except Exception as error:  # noqa: BLE001  # whatever it is, the first failure must still be written down
        console.warn(f"going back failed as well:\n{error}")
        return None


def served_before(run: Run) -> str | None:
    """Return the release that a run goes back to.

    A run that was resumed after its switch observed its own release; the accepted one was before it.
    """
    edge, accepted = run.facts.edge, run.facts.accepted
    return edge.release if edge.release and edge.release != run.release.id else accepted


def is_reverted(run: Run) -> bool:
    """Observe whether a host serves what it served before; where that had no edge, that nothing answers."""
    before = served_before(run)
    try:
        now = observe(run.settings, run.host).edge.release
        return now == before or not (now or run.state.release(str(before)).of("edge"))
    except (OpsError, OSError):
        return False


def reversals_to_accepted(
    at: Environment, interrupted: Mapping[str, Intention], facts: Mapping[str, Facts]
) -> dict[str, Reversal]:  # fmt: skip
    """Return the way back of each host to the release that its ledger calls in service."""

    def reversal(host: Host) -> Reversal | None:
        own, intention = facts[host.name], interrupted.get(host.name)
        undone = intention.target if intention else own.edge.release
        target = own.accepted or undone
        if not target or not is_there(state_of(at, host), target, own):
            return None
        run = standing_on(at, host, target, own)
        if own.accepted:
            return make_reversal(run, kept_bundle(run.state, undone), quieted=bool(intention))
        return Reversal(replace(run, going_back=True), quieted=bool(intention))

    return {name: one for name, one in at.each(reversal).items() if one}


def kept_bundle(state: State, release: str | None) -> Bundle | None:
    """Return a bundle; None where it is not kept here, or damaged."""
    with suppress(OpsError):
        return state.bundle(str(release))
    return None


def leave_half_served(fleet: Fleet) -> Fleet:
    """Where another release is half in service go back to the one before it: there are but two colours.

    Returns the fleet with what was observed after that.
    """
    before = {run.host.name: plan.reverted_first(run.release, run.facts) for run in fleet.runs}
    half = [run for run in fleet.runs if before[run.host.name]]
    if not half:
        return fleet

    def reversal(run: Run) -> Reversal:
        undone, earlier = run.facts.edge.release, str(before[run.host.name])
        console.say(f"release {undone} is half in service: back to {earlier} first")
        bundle = rebuild.bundle(run.settings, run.host, earlier, run.facts)
        return make_reversal(replace(run, bundle=bundle), kept_bundle(run.state, undone))

    reversals = fleet.each(reversal, half)
    revert(fleet.at, reversals, then="inv status, and the same again once every host answers")
    after = fleet.each(lambda run: observe(run.settings, run.host), half)
    return fleet.observed({run.host.name: run.facts for run in fleet.runs} | after)
