"""Where the plans of many hosts wait for each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TypeVar

from deploy.rollout import steps

T = TypeVar("T")


class Stage(IntEnum):
    """The parts of a plan, in their order; a host begins one when every host has ended the one before."""

    SHARED = 0  # data and edge run
    MIGRATE = 1  # on one host, for all
    JOBS = 2  # new assets are everywhere before anything names them
    START = 3  # the idle colour is well, and answers through the edge
    QUIET = 4  # no old worker takes a task that only the next release knows
    SWITCH = 5  # a canary first; up to the last switch and its watch
    RETIRE = 6  # what served before runs until every host has switched


FIRST: Mapping[type[steps.Step], Stage] = {
    steps.Migrate: Stage.MIGRATE,
    steps.RunJob: Stage.JOBS,
    steps.StartColour: Stage.START,
    steps.AwaitHealthy: Stage.START,
    steps.AwaitServed: Stage.START,
    steps.Resume: Stage.START,
    steps.Quiet: Stage.QUIET,
    steps.Switch: Stage.SWITCH,
    steps.Watch: Stage.SWITCH,
    steps.Drain: Stage.RETIRE,
    steps.AwaitTasks: Stage.RETIRE,
    steps.StopColour: Stage.RETIRE,
    steps.RemoveStopped: Stage.RETIRE,
    steps.Prune: Stage.RETIRE,
}


def stages(plan: Sequence[steps.Step]) -> dict[Stage, tuple[steps.Step, ...]]:
    """Cut a plan into its stages; the steps keep their order. What is stopped before the last switch makes room for what comes."""
    last = max((at for at, step in enumerate(plan) if isinstance(step, (steps.Switch, steps.Watch))), default=-1)
    cut: dict[Stage, tuple[steps.Step, ...]] = {}
    stage = Stage.SHARED
    for at, step in enumerate(plan):
        own = FIRST.get(type(step), Stage.SHARED)
        stage = max(stage, own) if own is not Stage.RETIRE or at > last else stage
        cut[stage] = (*cut.get(stage, ()), step)
    return cut


def batches(runs: Sequence[T], canary: int, size: int) -> list[Sequence[T]]:
    """Divide what switches: the canary by itself, then so many at once; 0 is all that are left."""
    first, rest = runs[:canary], runs[canary:]
    size = size or len(rest) or 1
    return [part for part in (first, *(rest[at : at + size] for at in range(0, len(rest), size))) if part]
