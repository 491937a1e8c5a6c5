"""Plan all hosts of a release, each from its own facts and from what those beside it have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from deploy import console
from deploy.model import Facts
from deploy.rollout import plan
from deploy.rollout.execute import execute
from deploy.rollout.facts import observe
from deploy.rollout.lineage import too_old
from deploy.rollout.run import Fleet, Run


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
