"""Put a release into service, or go back to an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from deploy import lock
from deploy.edge import switch
from deploy.environment import Environment
from deploy.errors import OpsError, Refused
from deploy.hosts.host import Host
from deploy.images import build as images
from deploy.model import Facts
from deploy.rollout import changes, drift, plan, preflight, wanted
from deploy.rollout.carry_out import Outcome, carry_out
from deploy.rollout.facts import observe_all, telling
from deploy.rollout.lineage import previous, schema_of
from deploy.rollout.planning import planned
from deploy.rollout.run import Fleet, Run, of
from deploy.state import Bundle


def deploy(at: Environment, *, to: str = "", include: str = "") -> Outcome:
    """Put the checkout into service without losing a request; `to` names an earlier release instead.

    `include` names shared services, with commas, that are made anew where they drifted: an outage, said before.
    """
    if to and include:
        raise Refused(
            "--include goes with the checkout's compose files, not with an earlier release", where="inv deploy", then="one of both"
        )
    if to:
        return rollback(at, to=to)
    with telling(at):
        ready = preflight.look(at, observe_all(at), include)
        with lock.held(at.hosts, at.settings.state_dir, "deploy"):
            fleet = prepare(at, ready).observed(observe_all(at))
            return carry_out(fleet, "deploy", anew=fleet.each(lambda run: drift.chosen(ready.anew, run)))


def rollback(at: Environment, *, to: str = "") -> Outcome:
    """Put an earlier release back into service, with its images, files and secrets; the schema stays."""
    with telling(at), lock.held(at.hosts, at.settings.state_dir, "rollback"):
        facts = observe_all(at)
        target = to or earlier(at, facts)
        fleet = of(at, target).observed(facts)
        preflight.roles_stay({run.host.name: run.release for run in fleet.runs}, facts)
        fleet.each(lambda run: preflight.schema_fits(run.release, schema_of(run.state, target), run.facts.schema, run.facts.serving))
        return carry_out(fleet, "rollback")


def earlier(at: Environment, facts: Mapping[str, Facts]) -> str:
    """Return the release that a rollback goes to; raise Refused where hosts do not agree."""
    found = at.each(lambda host: previous(at.state(host), facts[host.name]))
    if len(set(found.values())) > 1:
        told = "; ".join(f"{name}: {release}" for name, release in found.items())
        raise Refused(f"the hosts do not agree which release was before: {told}", then="inv rollback --to=RELEASE; inv history")
    return next(iter(found.values()))


@dataclass(frozen=True)
class Intended:
    """What a deploy would do on one host: its plan, what is there, what changes, and which drifted shared services it leaves."""

    plan: plan.Plan
    facts: Facts
    changes: tuple[str, ...]
    drifted: tuple[str, ...]


def intended(at: Environment) -> dict[str, Intended]:
    """Say what a deploy would do on each host."""
    with telling(at):
        facts = observe_all(at)
        bundles = assemble(at, preflight.look(at, facts))
        fleet = Fleet(at, tuple(Run(at.settings, host, bundles[host.name], facts[host.name]) for host in at.hosts))
        plans = planned(fleet, "deploy")
        return fleet.each(lambda run: intended_on(run, plans[run.host.name]))


def intended_on(run: Run, steps: plan.Plan) -> Intended:
    """Say what a deploy would do on one host."""
    serving, changed = run.facts.edge.release, tuple[str, ...]()
    with suppress(OpsError):  # its bundle is damaged, or of another version of this
        changed = changes.between(run.state.bundle(serving), run.bundle) if serving in run.state.kept() else ()
    return Intended(steps, run.facts, changed, drift.drifted(run))


def assemble(at: Environment, ready: preflight.Ready) -> dict[str, Bundle]:
    """Make the release, for each host what runs there: on this machine its images are built, elsewhere they were shipped before."""
    if ready.order:
        return wanted.bundles(at, ready.model, wanted.built(at, ready.order, ready.model), ready.secrets)
    code = wanted.shipped(at, ready.source, ready.model)
    made = wanted.bundles(at, ready.model, code, ready.secrets)
    return at.each(lambda host: wanted.as_kept(made[host.name], host))


def prepare(at: Environment, ready: preflight.Ready) -> Fleet:
    """Assemble a release and keep it on every host."""
    bundles = assemble(at, ready)

    def keep(host: Host) -> Run:
        bundle = bundles[host.name]
        release = bundle.release
        for edge in release.of("edge"):
            switch.require_version(host, edge.image)
        at.state(host).keep(bundle)
        images.keep_for(release.id, release.config_digests, wanted.ids(release, host), host)
        return Run(at.settings, host, bundle)

    return Fleet(at, tuple(at.each(keep).values()))
