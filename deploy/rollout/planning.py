"""Plan all hosts of a release, each from its own facts and from what those beside it have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from deploy.core import console
from deploy.core.errors import half_way
from deploy.core.model import Facts
from deploy.rollout import plan
from deploy.rollout.execute import execute
from deploy.rollout.lineage import too_old
from deploy.site import rebuild
from deploy.site.facts import observe
from deploy.site.run import Fleet, Run


def planned(fleet: Fleet, command: str, anew: Mapping[str, tuple[str, ...]] | None = None) -> dict[str, plan.Plan]:
    """Plan each host towards the fleet's release."""
    chosen, beside = fleet.at.settings.rollout, others(fleet.runs)

    def towards(run: Run) -> plan.Plan:
        old = [] if run.bundle.release.as_it_is else too_old(run.state, run.release.id, run.facts, chosen.keep_releases)
        return plan.towards(
            run.release, run.facts, forward=command == "deploy", watch=chosen.watch > 0, warm=chosen.keep_warm,
            anew=(anew or {}).get(run.host.name, ()), old=old, others=beside, leaving=run.leaving,
            quieted=bool(run.state.intention()),
        )  # fmt: skip

    return fleet.each(towards)


def joined(fleet: Fleet) -> Fleet:
    """Let hosts without an accepted release have what was chosen for those that have one: numbers of replicas, the maintenance page."""
    new, known = ([run for run in fleet.runs if bool(run.facts.accepted) is accepted] for accepted in (False, True))
    if not new or not known:
        return fleet
    numbers = {name: number for chosen in fleet.each(lambda run: run.state.scale(), known).values() for name, number in chosen.items()}
    fleet.each(lambda run: run.state.keep_scale(numbers), new if numbers else ())
    page = any(run.facts.edge.maintenance for run in known)
    facts = {run.host.name: run.facts for run in known}
    return fleet.observed(facts | {run.host.name: replace(run.facts, edge=replace(run.facts.edge, maintenance=page)) for run in new})


def others(runs: Iterable[Run]) -> plan.Others:
    """Look at all hosts together."""
    runs = tuple(runs)
    tied = [(run.release, run.facts) for run in runs if run.settings.fronts]
    lacking = any(known.edge.release == wanted.id and not plan.carries(wanted, str(known.edge.colour), known) for wanted, known in tied)
    behind = (c for _, known in tied if known.edge.front for c in known.containers if c.role == "web" and c.alive)
    data = (name for run in runs for name, c in run.facts.shared_alive.items() if c.role == "data")
    return plan.Others(lacking, frozenset(c.colour for c in behind), frozenset(data))


def whole(run: Run) -> Facts:
    """Observe; where another release is half in service, go back to the one before it first."""
    facts = observe(run.settings, run.host)
    earlier = plan.undone_first(run.release, facts)
    if not earlier:
        return facts
    console.say(f"release {facts.edge.release} is half in service: back to {earlier} first")
    back = replace(run, bundle=rebuild.bundle(run.settings, run.host, earlier, facts), facts=facts, going_back=True)
    with half_way("inv status, and the same again once every host answers"):
        execute(back, plan.back(back.release, facts, leaving=back.leaving))
    return observe(run.settings, run.host)
