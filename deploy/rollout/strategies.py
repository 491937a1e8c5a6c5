"""How a release takes over: what is observed, what is planned, how plans are performed. Each strategy is a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from deploy.config.environment import Environment
from deploy.core.model import Facts
from deploy.rollout.execute import execute_all
from deploy.rollout.plan import Plan
from deploy.rollout.planning import make_plans
from deploy.rollout.turns import Pace, pace_of
from deploy.site.facts import observe_all
from deploy.site.run import Fleet


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
