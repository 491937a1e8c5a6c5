"""Where the plans of many hosts wait for each other. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from deploy.rollout.steps import AwaitHealthy, Stage, StartColour, Step

T = TypeVar("T")
# of what comes before the last switch
EARLY = {Stage.DRAIN: Stage.SHARED, Stage.RETIRE: Stage.CLEAR}


def stages(plan: Sequence[Step]) -> dict[Stage, tuple[Step, ...]]:
    """Cut a plan into its stages; the steps keep their order. What stops before the last switch makes room."""
    switching = (Stage.SWITCH, Stage.FOLLOW)
    last = max((at for at, step in enumerate(plan) if step.stage in switching), default=-1)
    cut: dict[Stage, tuple[Step, ...]] = {}
    stage = Stage.SHARED
    for at, step in enumerate(plan):
        follows = at > last and isinstance(step, (StartColour, AwaitHealthy))
        own = Stage.TAKE_OVER if follows else step.stage
        stage = max(stage, EARLY.get(own, own) if at < last else own)
        cut[stage] = (*cut.get(stage, ()), step)
    return cut


def batches(runs: Sequence[T], canary: int, size: int) -> list[Sequence[T]]:
    """Divide what switches: the canary by itself, then so many at once; 0 is all that are left."""
    first, rest = runs[:canary], runs[canary:]
    size = size or len(rest) or 1
    return [part for part in (first, *(rest[at : at + size] for at in range(0, len(rest), size))) if part]
