"""Plan every host of a fleet towards one release, from what was observed on all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deploy.edge import frame
from deploy.rollout import plan
from deploy.rollout.lineage import expired_releases
from deploy.site.run import Fleet, Run


def make_plans(
    fleet: Fleet, command: str, recreate: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, plan.Plan]:  # fmt: skip
    """Plan each host towards the fleet's release; `recreate` names shared services by host."""
    chosen, fleet_wide = fleet.at.settings.rollout, fleet_facts(fleet.runs)
    edges = command == "deploy" and any(run.release.of("edge") for run in fleet.runs)
    fingerprint = frame.fingerprint(frame.render(fleet.at.settings)) if edges else ""

    def plan_one(run: Run) -> plan.Plan:
        rebuilt, number = run.bundle.release.reconstructed, chosen.keep_releases
        expired = [] if rebuilt else expired_releases(run.state, run.release.id, run.facts, number)
        return plan.Transition(
            run.release, run.facts, forward=command == "deploy", watch=chosen.watch > 0, warm=chosen.keep_warm,
            recreate=(recreate or {}).get(run.host.name, ()), expired=expired, fleet=fleet_wide,
            serving=run.serving_release, quieted=bool(run.state.intention()), frame=fingerprint,
        ).plan()  # fmt: skip

    return fleet.each(plan_one)


def fleet_facts(runs: Iterable[Run]) -> plan.FleetFacts:
    """Put together what a plan must know of all hosts. Pure."""
    runs = tuple(runs)
    tied = [(run.release, run.facts) for run in runs if run.settings.fronts]
    lacking = any(
        facts.edge.release == desired.id and not plan.carries(desired, str(facts.edge.colour), facts)
        for desired, facts in tied
    )  # fmt: skip
    behind = (c for _, facts in tied if facts.edge.front for c in facts.containers if c.role == "web" and c.alive)
    data = (name for run in runs for name, c in run.facts.shared_alive.items() if c.role == "data")
    return plan.FleetFacts(lacking, frozenset(c.colour for c in behind), frozenset(data))
