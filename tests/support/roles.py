"""Fake hosts whose roles may change from one deploy to the next."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

from deploy.config.checkout import Checkout
from deploy.config.environment import Environment
from deploy.core.model import Role
from deploy.core.shell import Command, Result
from deploy.hosts.sections import Server
from deploy.release import desired
from deploy.rollout.apply import Outcome
from deploy.site.run import Fleet, Run
from tests.support.apart import FOLDER, Apart
from tests.support.fake import FakeHost, invariant
from tests.support.place import FAST, applied
from tests.support.samples import DATA, IMAGES, model, settings


class Seen(Apart):
    """A host that says which schedulers run, on any host of the site."""

    others: dict[str, Seen]

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        done = super().try_run(command, stdin=stdin, timeout=timeout)
        found = [
            (name, c.name)
            for name, host in self.others.items()
            for c in [*host.engine.observed.values()]
            if alive(c, "scheduler")
        ]
        invariant(len(found) <= 1, found)
        return done


def alive(container: Any, role: Role) -> bool:
    return bool(container.role == role and container.alive)


class Roles:
    """Hosts with roles that may change from one deploy to the next."""

    def __init__(self, root: Path) -> None:
        self.root, self.hosts = root, dict[str, Seen]()

    def deploy(self, name: str, servers: dict[str, str]) -> Outcome:
        machines = {
            host: Server.model_validate({"address": f"192.0.2.{n}", "private": f"10.0.0.{n}", "roles": roles.split()})
            for n, (host, roles) in enumerate(servers.items(), 1)
        }
        chosen = settings(state=FOLDER, rollout={**FAST, "watch": 0}, hosts=machines)
        for host in machines:
            self.hosts.setdefault(host, Seen(host, self.root / host, Event())).others = self.hosts
        self.at = Environment(chosen, FakeHost(FOLDER), tuple(self.hosts[host] for host in machines))
        made = desired.bundles(
            self.at, model(DATA), desired.Code(Checkout(name * 20, "2026-01-01T00:00:00Z"), IMAGES, {}), {}
        )
        runs = [Run(chosen, host, made[host.name]) for host in self.at.hosts]
        for run in runs:
            run.state.keep(run.bundle)
            self.hosts[run.host.name].engine.made = frozenset(run.release.resources)
        return applied(Fleet(self.at, tuple(runs)), "deploy")

    def where(self, service: str) -> set[str]:
        return {
            name
            for name, host in self.hosts.items()
            for c in host.engine.observed.values()
            if c.service == service and c.alive
        }
