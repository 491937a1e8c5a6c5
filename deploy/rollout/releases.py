"""Which release a command works towards, made or kept, on each host; and what a deploy of it would change."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from deploy.config.environment import Environment
from deploy.core.errors import OpsError, Refused
from deploy.core.facts import Facts
from deploy.core.model import SHARED
from deploy.edge import running
from deploy.images import tags
from deploy.release import changes, desired
from deploy.rollout import drift, plan, preflight
from deploy.rollout.lineage import previous_release
from deploy.rollout.steps import Switch
from deploy.site.run import Fleet, Run, kept_fleet, standing
from deploy.state.store import Bundle, state_of


@dataclass(frozen=True)
class Proposal:
    """What a deploy would do on one host: its plan, what is there, what changes, which drifted services it leaves.

    `left_out` is what the compose files ask for and services do not get.
    """

    plan: plan.Plan
    facts: Facts
    changes: tuple[str, ...]
    drifted: tuple[str, ...]
    refused: Mapping[str, list[str]]  # why a deploy would not begin without --include, by shared service
    left_out: tuple[str, ...]


def propose(run: Run, steps: plan.Plan, left_out: tuple[str, ...]) -> Proposal:
    """Return what a deploy would do on one host."""
    serving, changed = run.facts.edge.release, tuple[str, ...]()
    with suppress(OpsError):  # its bundle is damaged, or of another version of this
        changed = changes.between(run.state.bundle(serving), run.bundle) if serving in run.state.kept() else ()
    if any(isinstance(step, Switch) and step.frame for step in steps.steps):
        changed = (*changed, "the edge's frame")
    drifted = tuple(name for name in drift.drifted(run) if not drift.by_secrets_alone(run, name))
    return Proposal(steps, run.facts, changed, drifted, drift.obstacles(run), left_out)


def assemble(at: Environment, ready: preflight.Ready, facts: Mapping[str, Facts]) -> Fleet:
    """Assemble the checkout's release for what is there on every host; nothing is written yet."""
    bundles = assemble_bundles(at, ready)
    return Fleet(at, tuple(Run(at.settings, host, bundles[host.name], facts[host.name]) for host in at.hosts))


def assemble_bundles(at: Environment, ready: preflight.Ready) -> dict[str, Bundle]:
    """Return what runs on each host: on this machine its images are built, elsewhere they were shipped before."""
    if ready.order:
        return desired.bundles(at, ready.model, desired.built(at, ready.order, ready.model), ready.secrets)
    bundles = desired.bundles(at, ready.model, desired.shipped(at, ready.source, ready.model), ready.secrets)
    return at.each(lambda host: desired.as_kept(bundles[host.name], host))


def keep(run: Run) -> None:
    """Keep a release on its host."""
    release = run.bundle.release
    for edge in release.of("edge"):
        if edge.image not in {c.image for c in run.facts.containers}:  # it was looked at before it ran
            running.require_version(run.host, edge.image)
    run.state.keep(run.bundle)
    tags.keep_for(release.id, release.config_digests, desired.ids(release, run.host), run.host)


def fleet_of(
    at: Environment, release: str, facts: Mapping[str, Facts], *, rebuilt: bool, going_back: bool = False
) -> Fleet:  # fmt: skip
    """Return a release that every host keeps; it may be `rebuilt` from containers where its record is gone.

    `going_back`, neither a journal that cannot be written nor a damaged scale.json keeps a bad release in service.
    """
    fleet = (standing(at, release, facts) if rebuilt else kept_fleet(at, release)).observed(facts)
    return Fleet(at, tuple(replace(run, going_back=going_back) for run in fleet.runs))


def earlier_release(at: Environment, facts: Mapping[str, Facts]) -> str:
    """Return the release that a rollback goes to; raise Refused where hosts do not agree."""
    releases = at.each(lambda host: previous_release(state_of(at, host), facts[host.name]))
    if len(set(releases.values())) > 1:
        words = "; ".join(f"{name}: {release}" for name, release in releases.items())
        then = "inv rollback --to=RELEASE; inv history"
        raise Refused(f"the hosts do not agree which release was before: {words}", then=then, slug="hosts-disagree")
    return next(iter(releases.values()))


def interrupted_release(facts: Mapping[str, Facts]) -> str | None:
    """Return the release that all hosts serve; raise Refused when they differ and no journal says what was begun."""
    releases = {name: own.edge.release for name, own in facts.items()}
    if len(set(releases.values())) > 1:
        words = ", ".join(f"{name}: {release or 'none'}" for name, release in releases.items())
        then = "inv deploy, or inv deploy --to=RELEASE"
        raise Refused(
            f"the hosts serve different releases ({words}), and nothing is under way", then=then, slug="hosts-disagree"
        )
    return next(iter(releases.values()))


def chosen_to_recreate(fleet: Fleet, include: str) -> dict[str, tuple[str, ...]]:
    """Name the shared services that a rollback recreates on each host; refuse a name of `include` that is none."""
    shared = dict.fromkeys(service.name for run in fleet.runs for service in run.release.of(*SHARED))
    names = preflight.read_include(include, shared)

    def on(run: Run) -> tuple[str, ...]:
        left = None
        with suppress(OpsError):  # its record is gone, and with it what it says of shared services
            left = run.state.bundle(str(run.facts.edge.release))
        return tuple(dict.fromkeys((*drift.to_recreate(names, run), *drift.to_restore(run, left))))

    return fleet.each(on)


def share_choices(fleet: Fleet) -> Fleet:
    """Give hosts without an accepted release what was chosen for the others: replicas, the maintenance page."""
    new, served = ([run for run in fleet.runs if bool(run.facts.accepted) is accepted] for accepted in (False, True))
    if not new or not served:
        return fleet
    scales = fleet.each(lambda run: run.state.scale(), served).values()
    numbers = {name: number for scale in scales for name, number in scale.items()}
    fleet.each(lambda run: run.state.keep_scale(numbers), new if numbers else ())
    page = any(run.facts.edge.maintenance for run in served)
    facts = {run.host.name: run.facts for run in fleet.runs}
    edges = {run.host.name: replace(run.facts.edge, maintenance=page) for run in new}
    return fleet.observed(facts | {name: replace(facts[name], edge=edge) for name, edge in edges.items()})
