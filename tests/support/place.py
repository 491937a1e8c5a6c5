"""One environment on a fake host: deploy to it, and look what became of it."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from deploy.config.environment import Environment
from deploy.config.settings import ROOT
from deploy.core.model import Release, ReleasedService
from deploy.release import desired
from deploy.rollout.apply import Outcome, apply
from deploy.rollout.fleet_plan import make_plans
from deploy.site.facts import observe, observe_all
from deploy.site.run import Fleet, Run
from deploy.state.store import Bundle, State
from tests.support.fake import FakeHost
from tests.support.samples import IMAGES, model, settings

FAST = {
    "healthy_within": 0.3,
    "served_within": 0.1,
    "drain_within": 0.1,
    "tasks_within": 0.1,
    "watch": 0.001,
    "keep_releases": 2,
}


class Killed(BaseException):
    """The operator's process is gone: nothing after this is done."""


@cache
def bundled(name: str, replicas: int = 1) -> Bundle:
    """Make a release of the small app with its real files; with more than one replica it rolls."""
    found = model()
    services = tuple(ReleasedService(name=s.name, image=IMAGES[s.image], deploy=s.deploy) for s in found.services)
    made = Release(
        id=name, revision=name, commit=name, commit_time="2026-01-01T00:00:00Z", images=IMAGES, config_digests={},
        files="f", secrets="s", strategy="rolling" if replicas > 1 else "blue_green", services=services,
    ).scaled({"backend": replicas, "worker": replicas})  # fmt: skip
    return Bundle(made, desired.render_all(settings(ROOT), found, IMAGES, name, "/env"), "A=1\n")


def applied(fleet: Fleet, command: str, **more: Any) -> Outcome:
    """Observe a fleet, and apply its release."""
    return apply(fleet.observed(observe_all(fleet.at)), command, **more)


class Place:
    """One environment on a fake host, with a release in service."""

    def __init__(self, folder: Path, replicas: int = 1) -> None:
        self.replicas = replicas
        self.settings = settings(ROOT, state=folder, rollout=FAST)
        self.host = FakeHost(folder / "edge")
        self.state = State(self.host, folder)
        self.at = Environment(self.settings, self.host, (self.host,))

    def deploy(self, name: str, **more: Any) -> Outcome:
        bundle = bundled(name, self.replicas)
        self.state.keep(bundle)
        return applied(Fleet(self.at, (Run(self.settings, self.host, bundle),)), "deploy", **more)

    def steps(self, name: str, command: str = "deploy") -> list[str]:
        """Name the steps that a deploy, or a rollback, would take now."""
        run = Run(self.settings, self.host, bundled(name, self.replicas))
        fleet = Fleet(self.at, (run,)).observed({self.host.name: observe(self.settings, self.host)})
        return [step.name for step in make_plans(fleet, command)[self.host.name].steps]

    def journal(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.state.folder / "journal.jsonl").read_text().splitlines()]

    def running(self) -> set[tuple[str, str]]:
        """Which services run, of which release."""
        return set(self.containers())

    def containers(self) -> list[tuple[str, str]]:
        """Which services run, of which release, once for each replica."""
        return sorted((c.service, c.release) for c in self.host.engine.observed.values() if c.alive and c.colour)

    def members(self) -> list[str]:
        """Which releases the edge names, once for each replica, all of which run."""
        named = observe(self.settings, self.host).edge.members
        found = [c for c in self.host.engine.observed.values() if c.name in named]
        assert len(found) == len(named)
        assert all(c.up for c in found), "what the edge names does not run"
        return sorted(c.release for c in found)

    def serving(self) -> str | None:
        found = observe(self.settings, self.host).edge.release
        if found:
            assert ("backend", found) in self.running(), "what the edge names does not run"
        return found


def whole(name: str) -> set[tuple[str, str]]:
    return {(service, name) for service in ("backend", "worker", "beat")}


STEPS = [
    "StartShared", "Migrate", "RunJob", "StartColour", "AwaitHealthy", "AwaitServed", "Quiet", "Switch", "Watch",
    "Drain", "StopColour", "StopColour", "StartColour", "AwaitHealthy", "Prune",
]  # fmt: skip
EVERY_STEP = pytest.mark.parametrize(
    "number", range(len(STEPS)), ids=[f"{n} {name}" for n, name in enumerate(STEPS, 1)]
)
