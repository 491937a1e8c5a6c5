"""The steps of a deploy, and the stages at which the hosts wait for each other."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar

from deploy.site import step
from deploy.site.run import Run


class Stage(IntEnum):
    """The parts of a plan, in their order; a host begins one when every host has ended the one before."""

    SHARED = 0  # data and edge run; what an interrupted run left in the idle colour is drained
    CLEAR = 1  # and stopped
    MIGRATE = 2  # on one host, for all
    JOBS = 3  # new assets are everywhere before any page names them
    RECORD = 4  # the migrations of jobs are recorded, on one host for all
    START = 5  # the idle colour is healthy
    SERVED = 6  # and answers through the edge
    QUIET = 7  # no old worker takes a task that only the next release knows
    SWITCH = 8  # a canary first; up to the last switch and its watch
    FOLLOW = 9  # hosts behind another's edge check that it has switched
    DRAIN = 10  # the old colour runs until every host has switched and no edge uses it
    RETIRE = 11
    TAKE_OVER = 12  # schedulers, and on the way back workers, start once the old ones have stopped everywhere


@dataclass(frozen=True)
class Step(step.Step[Run]):
    """One thing that a deploy does on one host; a subclass has its sentence, its stage and its performance."""

    stage: ClassVar[Stage]
