"""The step that asks a colour through the edge before visitors do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from deploy.config.settings import Settings
from deploy.core.errors import OpsError
from deploy.core.poll import poll
from deploy.rollout.health import diagnose
from deploy.rollout.steps.step import Stage, Step
from deploy.site.run import Run


@dataclass(frozen=True)
class AwaitServed(Step):
    """Ask the idle colour through the edge until it answers with the new version: each service, then each replica."""

    colour: str
    stage: ClassVar[Stage] = Stage.SERVED

    def __str__(self) -> str:
        return f"probe {self.colour} through the edge"

    def limit(self, settings: Settings) -> float:
        return settings.rollout.served_within

    def perform(self, run: Run) -> None:
        for service in run.release.of("web"):
            alive = [c.name for c in run.containers(self.colour, [service.name]) if c.alive]
            addresses = (*(f"{name}:{service.deploy.port}" for name in alive), *service.behind_at(self.colour))
            for place in (f"{self.colour}/{service.name}", *(f"replica/{address}" for address in addresses)):
                await_answer(run, self.colour, service.name, place, service.deploy.health)
                if service.deploy.version:
                    await_answer(run, self.colour, service.name, place, service.deploy.version, release=run.release.id)


def await_answer(run: Run, colour: str, service: str, place: str, path: str, *, release: str = "") -> None:
    """Poll a path at one place of the edge's inner listener until it answers 200 and names the release.

    A redirect or a container that ended is given up at once: waiting fixes neither.
    """
    limit = run.settings.rollout.served_within
    for _ in poll(limit):
        status, body = run.host.get(run.settings.edge.probe_port, f"/{place}{path}", timeout=min(5, limit))
        served = status == 200 and release in body
        down = [c for c in run.containers(colour, [service]) if not c.up]
        if served or 300 <= status < 400 or down:
            break
    if served:
        return
    replica = place.removeprefix("replica/").rpartition(":")[0] if place.startswith("replica/") else ""
    own = replica if replica.startswith(run.settings.name) else f"{run.project(colour)}-{service}-{colour}-1"
    answer = f"answered {status} to {path}" if status else f"did not answer to {path}"
    rule = f"it must answer 200 and name release {release}" if release else "it must answer 200, without a redirect"
    words = f"{replica or service} ({colour}) {answer}; {rule}: {run.masked(body.strip())[:200]}"
    raise OpsError(
        "\n".join([words, *(diagnose(run, c) for c in down)]),
        where=f"{run.host.name}, through the edge",
        then=run.host.command_line(f"docker logs {own}") + "; fix it, then inv deploy",
        slug="unhealthy",
    )
