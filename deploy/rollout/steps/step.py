"""What a step of a deploy has besides its sentence: the stage at which the hosts wait for each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from deploy.site import step
from deploy.site.run import Run


class Stage(IntEnum):
    """The parts of a plan, in their order; a host begins one when every host has ended the one before."""

    SHARED = 0  # data and edge run, and no edge answers from what an interrupted run left in the idle colour
    CLEAR = 1  # that is stopped
    MIGRATE = 2  # on one host, for all
    JOBS = 3  # new assets are everywhere before anything names them
    RECORD = 4  # what jobs have migrated, on one host for all
    START = 5  # the idle colour is well
    SERVED = 6  # and answers through the edge
    QUIET = 7  # no old worker takes a task that only the next release knows
    SWITCH = 8  # a canary first; up to the last switch and its watch
    FOLLOW = 9  # hosts behind another's edge see that it has switched
    DRAIN = 10  # what served before runs until every host has switched and every edge has let go of it
    RETIRE = 11
    TAKE_OVER = 12  # what must not run twice, or waits for tasks, starts once what was before has stopped everywhere


@dataclass(frozen=True)
class Step(step.Step[Run]):
    """One thing that a deploy does on one host. A subclass says its sentence, its stage and how it is performed."""

    stage: ClassVar[Stage]
