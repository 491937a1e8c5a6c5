"""The step that forgets old releases."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploy.images.tags import prune_release
from deploy.rollout.steps.step import Stage, Step
from deploy.site.run import Run


@dataclass(frozen=True)
class Prune(Step):
    """Remove bundles and image names of releases that are too old to go back to."""

    releases: tuple[str, ...]
    stage: ClassVar[Stage] = Stage.RETIRE

    def __str__(self) -> str:
        return f"forget {len(self.releases)} old release(s)"

    def perform(self, run: Run) -> None:
        for release in self.releases:
            prune_release(run.release.images, release, run.host)
            run.host.remove(run.state.bundle_folder(release))
