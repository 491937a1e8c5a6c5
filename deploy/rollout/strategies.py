"""How a release takes over: what is observed, what is planned, how plans are performed. Each strategy is a value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from deploy.config.environment import Environment
from deploy.core.facts import Facts
from deploy.edge import frame
from deploy.rollout import plan
from deploy.rollout.execute import execute_all
from deploy.rollout.lineage import expired_releases
from deploy.rollout.plan import Plan
from deploy.rollout.turns import Pace, pace_of
from deploy.site.facts import observe_all
from deploy.site.run import Fleet, Run


class Strategy(Protocol):
    """What a command needs of a strategy."""

    def observe(self, at: Environment) -> dict[str, Facts]:
        """Return what is there on each host."""

    def plan(self, fleet: Fleet, command: str, recreate: Mapping[str, tuple[str, ...]] | None) -> dict[str, Plan]:
        """Return the steps of each host; none are left where the release serves."""

    def perform(self, fleet: Fleet, plans: Mapping[str, Plan]) -> None:
        """Perform the steps of all hosts; raise OpsError when one fails."""


@dataclass(frozen=True)
class Colours:
    """Two colours behind an edge, of which one serves: blue-green in one turn, rolling replica by replica."""

    pace: Pace

    def observe(self, at: Environment) -> dict[str, Facts]:
        """Ask each host's engine and edge."""
        return observe_all(at)

    def plan(self, fleet: Fleet, command: str, recreate: Mapping[str, tuple[str, ...]] | None) -> dict[str, Plan]:
        """Plan the idle colour into service, on all hosts in step with each other."""
        return make_plans(fleet, command, recreate)

    def perform(self, fleet: Fleet, plans: Mapping[str, Plan]) -> None:
        """Perform stage by stage, a canary first."""
        execute_all(fleet, {name: plan.steps for name, plan in plans.items()})


def strategy_of(name: str) -> Strategy:
    """Return a strategy by its name in the settings, or in a release."""
    return Colours(pace_of(name))


def make_plans(
    fleet: Fleet, command: str, recreate: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, plan.Plan]:  # fmt: skip
    """Plan each host towards the fleet's release; `recreate` names shared services by host."""
    chosen, together = fleet.at.settings.rollout, observed_together(fleet.runs)
    edges = command == "deploy" and any(run.release.of("edge") for run in fleet.runs)
    fingerprint = frame.fingerprint(frame.render(fleet.at.settings)) if edges else ""

    def towards(run: Run) -> plan.Plan:
        rebuilt, number = run.bundle.release.as_it_is, chosen.keep_releases
        old = [] if rebuilt else expired_releases(run.state, run.release.id, run.facts, number)
        return plan.towards(
            run.release, run.facts, forward=command == "deploy", watch=chosen.watch > 0, warm=chosen.keep_warm,
            recreate=(recreate or {}).get(run.host.name, ()), old=old, together=together, leaving=run.leaving,
            quieted=bool(run.state.intention()), frame=fingerprint,
        )  # fmt: skip

    return fleet.each(towards)


def observed_together(runs: Iterable[Run]) -> plan.Together:
    """Put together what a plan must know of all hosts. Pure."""
    runs = tuple(runs)
    tied = [(run.release, run.facts) for run in runs if run.settings.fronts]
    lacking = any(
        facts.edge.release == desired.id and not plan.carries(desired, str(facts.edge.colour), facts)
        for desired, facts in tied
    )  # fmt: skip
    behind = (c for _, facts in tied if facts.edge.front for c in facts.containers if c.role == "web" and c.alive)
    data = (name for run in runs for name, c in run.facts.shared_alive.items() if c.role == "data")
    return plan.Together(lacking, frozenset(c.colour for c in behind), frozenset(data))
