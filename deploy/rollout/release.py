"""Put a release into service, or go back to an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from deploy.config.environment import Environment
from deploy.core.errors import OpsError, Refused
from deploy.core.model import SHARED, Facts
from deploy.edge import switch
from deploy.images import build as images
from deploy.release import changes, wanted
from deploy.rollout import drift, plan, preflight
from deploy.rollout.carry_out import Outcome, carry_out
from deploy.rollout.lineage import previous, schema_of
from deploy.rollout.planning import planned
from deploy.site.facts import observe_all, telling
from deploy.site.run import Fleet, Run, of, standing
from deploy.state import lock
from deploy.state.store import Bundle, state_of


def deploy(at: Environment, *, to: str = "", include: str = "") -> Outcome:
    """Put the checkout into service without losing a request; `to` names an earlier release instead.

    `include` names shared services, with commas, that are recreated where they differ or fail: an outage, said before.
    """
    if to:
        return rollback(at, to=to, include=include)
    with telling(at):
        ready = preflight.look(at, observe_all(at), include)
        with lock.held(at.hosts, at.settings.state_dir, "deploy"):
            fleet = prepare(at, ready)
            anew = fleet.each(lambda run: drift.chosen(ready.anew, run))
            drift.require(fleet, anew, "inv deploy")
            fleet.each(keep)
            return carry_out(fleet, "deploy", anew=anew)


def rollback(at: Environment, *, to: str = "", include: str = "") -> Outcome:
    """Put an earlier release back into service, with its images, files and secrets; the schema stays.

    Shared services stay too, but for those that `include` names, and those that the release which serves recreated and
    that fail.
    """
    with telling(at), lock.held(at.hosts, at.settings.state_dir, "rollback"):
        facts = observe_all(at)
        target = to or earlier(at, facts)
        found = (of(at, target) if to else standing(at, target, facts)).observed(facts)
        # neither a journal that cannot be written nor a damaged scale.json keeps a bad release in service
        fleet = Fleet(at, tuple(replace(run, going_back=True) for run in found.runs))
        anew = recreated(fleet, include)
        preflight.roles_stay({run.host.name: run.release for run in fleet.runs}, facts)
        fleet.each(lambda run: preflight.schema_fits(run.release, schema_of(run.state, target), run.facts.schema, run.facts.serving))
        again = f"inv rollback{f' --to={to}' if to else ''}"
        drift.require(fleet, anew, again, forward=False)
        fleet.each(lambda run: drift.warn_of_failing(run, anew[run.host.name], f"inv rollback --to={target}"))
        return carry_out(fleet, "rollback", anew=anew)


def recreated(fleet: Fleet, include: str) -> dict[str, tuple[str, ...]]:
    """Name the shared services that a rollback recreates on each host; refuse a name of `include` that is none."""
    shared = dict.fromkeys(service.name for run in fleet.runs for service in run.release.of(*SHARED))
    names = preflight.included(include, shared)

    def on(run: Run) -> tuple[str, ...]:
        left = None
        with suppress(OpsError):  # its record is gone, and with it what it says of shared services
            left = run.state.bundle(str(run.facts.edge.release))
        return tuple(dict.fromkeys((*drift.chosen(names, run), *drift.restorable(run, left))))

    return fleet.each(on)


def earlier(at: Environment, facts: Mapping[str, Facts]) -> str:
    """Return the release that a rollback goes to; raise Refused where hosts do not agree."""
    found = at.each(lambda host: previous(state_of(at, host), facts[host.name]))
    if len(set(found.values())) > 1:
        told = "; ".join(f"{name}: {release}" for name, release in found.items())
        raise Refused(f"the hosts do not agree which release was before: {told}", then="inv rollback --to=RELEASE; inv history")
    return next(iter(found.values()))


@dataclass(frozen=True)
class Intended:
    """What a deploy would do on one host: its plan, what is there, what changes, which drifted shared services it leaves.

    `left_out` is what the compose files ask for and services do not get.
    """

    plan: plan.Plan
    facts: Facts
    changes: tuple[str, ...]
    drifted: tuple[str, ...]
    refused: Mapping[str, list[str]]  # why a deploy would not begin without --include, by shared service
    left_out: tuple[str, ...]


def intended(at: Environment) -> dict[str, Intended]:
    """Say what a deploy would do on each host."""
    with telling(at):
        facts = observe_all(at)
        ready = preflight.look(at, facts)
        fleet = prepare(at, ready)
        plans = planned(fleet, "deploy")
        return fleet.each(lambda run: intended_on(run, plans[run.host.name], ready.left_out))


def intended_on(run: Run, steps: plan.Plan, left_out: tuple[str, ...]) -> Intended:
    """Say what a deploy would do on one host."""
    serving, changed = run.facts.edge.release, tuple[str, ...]()
    with suppress(OpsError):  # its bundle is damaged, or of another version of this
        changed = changes.between(run.state.bundle(serving), run.bundle) if serving in run.state.kept() else ()
    return Intended(steps, run.facts, changed, drift.drifted(run), drift.obstacles(run), left_out)


def assemble(at: Environment, ready: preflight.Ready) -> dict[str, Bundle]:
    """Make the release, for each host what runs there: on this machine its images are built, elsewhere they were shipped before."""
    if ready.order:
        return wanted.bundles(at, ready.model, wanted.built(at, ready.order, ready.model), ready.secrets)
    code = wanted.shipped(at, ready.source, ready.model)
    made = wanted.bundles(at, ready.model, code, ready.secrets)
    return at.each(lambda host: wanted.as_kept(made[host.name], host))


def prepare(at: Environment, ready: preflight.Ready) -> Fleet:
    """Assemble a release for what is there on every host; nothing is written yet."""
    bundles, facts = assemble(at, ready), observe_all(at)
    return Fleet(at, tuple(Run(at.settings, host, bundles[host.name], facts[host.name]) for host in at.hosts))


def keep(run: Run) -> None:
    """Keep a release on its host."""
    release = run.bundle.release
    for edge in release.of("edge"):
        switch.require_version(run.host, edge.image)
    run.state.keep(run.bundle)
    images.keep_for(release.id, release.config_digests, wanted.ids(release, run.host), run.host)
