"""A fleet whose hosts change: a role moves, a host comes empty, leaves, or breaks once all is done."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy.config.checkout import Checkout
from deploy.config.environment import Environment
from deploy.core.errors import Interrupted, Refused, Unreachable
from deploy.core.model import Role
from deploy.core.shell import Command, Result
from deploy.hosts.sections import Server
from deploy.release import wanted
from deploy.rollout import commands, roles
from deploy.rollout.apply import Outcome
from deploy.site.facts import observe_all
from deploy.site.run import Fleet, Run
from tests.flow.fake import FakeHost
from tests.flow.place import FAST, applied
from tests.flow.test_fleet import FOLDER, Apart, Site
from tests.samples import DATA, IMAGES, model, settings

pytestmark = pytest.mark.usefixtures("no_waiting")


class Seen(Apart):
    """A host that says which schedulers run, on any host of the site."""

    others: dict[str, Seen]

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        done = super().try_run(command, stdin=stdin, timeout=timeout)
        found = [(name, c.name) for name, host in self.others.items() for c in [*host.engine.known.values()] if alive(c, "scheduler")]
        assert len(found) <= 1, found
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
        made = wanted.bundles(self.at, model(DATA), wanted.Code(Checkout(name * 20, "2026-01-01T00:00:00Z"), IMAGES, {}), {})
        runs = [Run(chosen, host, made[host.name]) for host in self.at.hosts]
        for run in runs:
            run.state.keep(run.bundle)
            self.hosts[run.host.name].engine.made = frozenset(run.release.resources)
        return applied(Fleet(self.at, tuple(runs)), "deploy")

    def where(self, service: str) -> set[str]:
        return {name for name, host in self.hosts.items() for c in host.engine.known.values() if c.service == service and c.alive}


@pytest.mark.parametrize("other", ["a", "z"])
def test_the_scheduler_moves_and_never_runs_twice(tmp_path: Path, other: str) -> None:
    site = Roles(tmp_path)
    before = {"main": "edge app worker data", other: "edge app"}
    after = {"main": "edge app data", other: "edge app worker"}
    for number, servers in enumerate((before, after, before)):
        site.deploy(f"r{number}", servers)
        there = {"main"} if servers is before else {other}
        assert (site.where("beat"), site.where("worker")) == (there, there)


def test_the_scheduler_moves_to_a_host_that_is_new(tmp_path: Path) -> None:
    site = Roles(tmp_path)
    site.deploy("r1", {"main": "edge app worker data"})
    site.deploy("r2", {"main": "edge app worker data", "a": "worker"})
    assert (site.where("beat"), site.where("worker")) == ({"a"}, {"a", "main"})
    with pytest.raises(Refused, match="there is no earlier release") as told:
        commands.rollback(site.at)
    assert told.value.where.startswith("a: /var")


def test_a_host_that_nothing_is_placed_on_is_emptied(tmp_path: Path) -> None:
    site = Roles(tmp_path)
    site.deploy("r1", {"main": "edge app data worker", "z": "edge app worker"})
    site.deploy("r2", {"main": "edge app data worker", "z": "monitoring"})
    assert site.where("backend") == site.where("worker") == {"main"}


def test_a_host_that_was_taken_out_is_named_while_what_runs_there_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site, servers = Roles(tmp_path), {"main": "edge app data worker", "z": "edge app worker"}
    site.deploy("r1", servers)
    roles.removed_hosts(site.at, roles.recorded(site.at, observe_all(site.at)))
    assert "no more" not in capsys.readouterr().err
    site.at = site.at._replace(hosts=(site.hosts["main"],))
    roles.removed_hosts(site.at, roles.recorded(site.at, observe_all(site.at)))
    assert "z was removed from [hosts] but still runs what it had" in capsys.readouterr().err.replace("\n", " ")


def test_a_host_that_was_made_anew_does_not_forbid_going_back(tmp_path: Path) -> None:
    """It never heard of the schema that its release is of; the others did."""
    site, servers = Roles(tmp_path), {"main": "edge app worker data", "z": "edge app"}
    earlier = site.deploy("r1", servers).release
    site.hosts["z"] = Seen("z", tmp_path / "anew", Event())
    assert site.deploy("r1", servers).release == earlier
    site.deploy("r2", servers)
    assert commands.rollback(site.at).release == earlier
    assert site.where("backend") == {"main", "z"}


@pytest.mark.parametrize("bad", ["app1", "app3"])
def test_a_connection_that_breaks_once_all_is_done_is_an_interruption(tmp_path: Path, bad: str) -> None:
    """Not exit 1, which says that the release before serves."""
    site = Site(tmp_path)
    host: Any = site.hosts[bad]
    append = host.append

    def broken(path: Path, line: str) -> None:
        if path.name == "ledger.jsonl":
            host.append = append
            raise Unreachable(f"the connection to {bad} broke")
        append(path, line)

    host.append = broken
    with pytest.raises(Interrupted, match=f"the connection to {bad} broke") as told:
        site.deploy("r3")
    assert "r3" in told.value.serves
