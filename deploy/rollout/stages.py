"""Where the plans of many hosts wait for each other. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TypeVar

from deploy.rollout import steps

T = TypeVar("T")


class Stage(IntEnum):
    """The parts of a plan, in their order; a host begins one when every host has ended the one before."""

    SHARED = 0  # data and edge run, and no edge answers from what an interrupted run left in the idle colour
    CLEAR = 1  # that is stopped
    MIGRATE = 2  # on one host, for all
    JOBS = 3  # new assets are everywhere before anything names them
    START = 4  # the idle colour is well
    SERVED = 5  # and answers through the edge
    QUIET = 6  # no old worker takes a task that only the next release knows
    SWITCH = 7  # a canary first; up to the last switch and its watch
    FOLLOW = 8  # hosts behind another's edge see that it has switched
    DRAIN = 9  # what served before runs until every host has switched and every edge has let go of it
    RETIRE = 10
    TAKE_OVER = 11  # what must not run twice, or waits for tasks to end, starts once what was before has stopped everywhere


FIRST: Mapping[type[steps.Step], Stage] = {
    steps.Migrate: Stage.MIGRATE,
    steps.RunJob: Stage.JOBS,
    steps.StartColour: Stage.START,
    steps.AwaitHealthy: Stage.START,
    steps.RegisterColour: Stage.SERVED,
    steps.AwaitServed: Stage.SERVED,
    steps.Resume: Stage.START,
    steps.Quiet: Stage.QUIET,
    steps.Switch: Stage.SWITCH,
    steps.TurnPage: Stage.SWITCH,
    steps.Watch: Stage.SWITCH,
    steps.SeeSwitched: Stage.FOLLOW,
    steps.Drain: Stage.DRAIN,
    steps.AwaitTasks: Stage.RETIRE,
    steps.StopColour: Stage.RETIRE,
    steps.RemoveStopped: Stage.RETIRE,
    steps.Prune: Stage.RETIRE,
}


# of what comes before the last switch
EARLY = {Stage.DRAIN: Stage.SHARED, Stage.RETIRE: Stage.CLEAR}


def stages(plan: Sequence[steps.Step]) -> dict[Stage, tuple[steps.Step, ...]]:
    """Cut a plan into its stages; the steps keep their order. What is stopped before the last switch makes room for what comes."""
    turned = (steps.Switch, steps.SeeSwitched, steps.Watch)
    last = max((at for at, step in enumerate(plan) if isinstance(step, turned)), default=-1)
    cut: dict[Stage, tuple[steps.Step, ...]] = {}
    stage = Stage.SHARED
    for at, step in enumerate(plan):
        own = FIRST.get(type(step), Stage.SHARED)
        own = Stage.TAKE_OVER if isinstance(step, (steps.StartColour, steps.AwaitHealthy)) and at > last else own
        stage = max(stage, EARLY.get(own, own) if at < last else own)
        cut[stage] = (*cut.get(stage, ()), step)
    return cut


def batches(runs: Sequence[T], canary: int, size: int) -> list[Sequence[T]]:
    """Divide what switches: the canary by itself, then so many at once; 0 is all that are left."""
    first, rest = runs[:canary], runs[canary:]
    size = size or len(rest) or 1
    return [part for part in (first, *(rest[at : at + size] for at in range(0, len(rest), size))) if part]
