"""The step that judges a release under real traffic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploy.config.settings import Settings
from deploy.rollout.steps.step import Stage, Step
from deploy.rollout.watch import Watcher
from deploy.site.run import Run


@dataclass(frozen=True)
class Watch(Step):
    """Compare what the edge's log says of a release with the minute before; fail when it is worse.

    The `mixed` replicas of the other colour may still answer.
    """

    colour: str
    release: str
    mixed: tuple[str, ...] = ()
    stage: ClassVar[Stage] = Stage.SWITCH

    def __str__(self) -> str:
        return f"watch {self.colour} under real traffic"

    def limit(self, settings: Settings) -> float:
        return settings.rollout.watch

    def perform(self, run: Run) -> str:
        return Watcher(run, self.colour, self.mixed).verdict()
