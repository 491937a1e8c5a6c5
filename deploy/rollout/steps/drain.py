"""The step that lets containers finish what visitors have begun."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.poll import wait_until
from deploy.edge import running
from deploy.rollout.steps.step import Stage, Step
from deploy.site.run import Run


@dataclass(frozen=True)
class Drain(Step):
    """Let what the edge names no longer finish: WebSockets closed, requests answered, old edge workers gone.

    WebSockets of replicas that serve on hold those workers as well: what generation `since` named and the edge still
    names closes them too, and may open new ones.
    """

    colour: str
    since: int = 0
    stage: ClassVar[Stage] = Stage.DRAIN

    def __str__(self) -> str:
        return f"drain {self.colour}"

    def limit(self, settings: Settings) -> float:
        return settings.rollout.drain_within

    def perform(self, run: Run) -> None:
        before = run.edge_folder.route(self.since).members
        now = run.edge_folder.route().members
        web = [c for c in run.host.engine.containers(run.settings.name) if c.role == "web"]
        draining = [c for c in web if c.name in before or (c.colour == self.colour and c.name not in now)]
        run.exec_all(draining, lambda deploy: deploy.drain)
        edge, limit = run.edge if run.bundle.release.of("edge") else run.running_edge, self.limit(run.settings)
        if edge and not wait_until(lambda: running.retiring_workers(run.host, edge) == 0, limit):
            console.warn(f"requests of {self.colour} were still running after {limit:.0f} s")
        run.exec_all([c for c in draining if c.name in now], lambda deploy: deploy.resume)
