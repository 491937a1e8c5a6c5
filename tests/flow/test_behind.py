"""One edge host with app hosts behind it: what the edge names runs, wherever the operator dies and whatever fails."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from deploy.config.checkout import Checkout
from deploy.config.environment import Environment
from deploy.core.errors import GateClosed, OpsError, Refused, Unreachable
from deploy.core.model import COLOUR_PORT_OFFSET
from deploy.core.shell import Command, Result
from deploy.hosts.sections import Server
from deploy.insight import status
from deploy.release import desired, placement
from deploy.rollout import commands, maintenance, scale
from deploy.rollout.apply import Outcome
from deploy.rollout.fleet_plan import make_plans
from deploy.site.facts import observe_all
from deploy.site.run import Fleet, Run, kept_fleet
from deploy.state.store import State
from tests.support.apart import FOLDER, Apart, once
from tests.support.fake import FakeHost, invariant
from tests.support.faults import fail_at
from tests.support.place import FAST, Killed, applied
from tests.support.samples import DATA, IMAGES, model, settings

pytestmark = pytest.mark.usefixtures("no_waiting")
SERVERS = {
    "app1": Server(address="192.0.2.2", roles=["app", "worker"], private="10.0.0.2"),
    "app2": Server(address="192.0.2.3", roles=["app"], private="10.0.0.3"),
    "front": Server(address="192.0.2.1", roles=["edge", "data"], private="10.0.0.1"),
}


class Behind(Apart):
    """A host whose edge, where it has one, answers from containers of the others."""

    site: Site

    def stopped(self, names: tuple[str, ...]) -> None:
        """Watch that nothing stops which the edge names, or named until a moment ago."""
        web = [
            self.engine.observed[name]
            for name in names
            if self.engine.observed[name].role == "web" and self.engine.observed[name].alive
        ]
        front = self.site.hosts["front"]
        for container in web if front.generation else ():
            stopped = f"{self.name}: {container.name} was stopped"
            invariant(container.colour != front.route()["colour"], f"{stopped}, and the edge names it")
            invariant(front.let_go(), f"{stopped} before the edge's old workers had left")

    def route(self) -> dict[str, Any]:
        return json.loads((self.edge_folder / "generations" / str(self.generation) / "route.json").read_text())  # type: ignore[no-any-return]

    def let_go(self) -> bool:
        """Tell whether a drain came after the last reload."""
        output = [json.loads(line) for line in (self.read(FOLDER / "journal.jsonl") or "").splitlines()]
        ends = [one["step"] for one in output if one.get("state") == "done" and "step" in one]
        return "Switch" not in ends or "Drain" in ends[len(ends) - ends[::-1].index("Switch") :]

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        if command.argv[:2] == ("docker", "stop"):
            self.stopped(command.argv[2:])
        return super().try_run(command, stdin=stdin, timeout=timeout)

    def get(self, port: int, path: str, *, host: str = "localhost", timeout: float = 2) -> tuple[int, str]:
        if path in ("/generation", "/"):
            return super().get(port, path)
        invariant(self.name == "front", "no edge is asked where none is")
        _, first, second, _ = path.split("/")
        if first == "replica":
            address, _, number = second.partition(":")
            colour = next(colour for colour, more in COLOUR_PORT_OFFSET.items() if int(number) == 8000 + more)
            asked = [name for name, server in SERVERS.items() if server.private == address]
        else:
            colour = first  # where nothing listens nginx goes on to the next
            asked = [
                name
                for name, host in self.site.hosts.items()
                if any(c.colour == colour for c in host.engine.observed.values())
            ]
        found = [
            c
            for name in asked
            for c in self.site.hosts[name].engine.observed.values()
            if (c.colour, c.role, c.up) == (colour, "web", True)
        ]
        return (
            (200, json.dumps({"release": found[0].release}))
            if len(found) == len(asked) and not self.mute
            else (502, "")
        )


class Site:
    """A site that serves its second release."""

    def __init__(self, root: Path, **rollout: Any) -> None:
        self.settings = settings(state=FOLDER, rollout={**FAST, "watch": 0, **rollout}, hosts=SERVERS)
        self.dead = Event()
        self.hosts = {name: Behind(name, root / name, self.dead) for name in SERVERS}
        for name, host in self.hosts.items():
            host.site, host.front = self, self.hosts.get(self.settings.fronts.get(name, ""))
        self.observed: dict[str, str] = once(
            (Behind, *SERVERS, repr(rollout)), root, self.hosts,
            lambda: {name: self.deploy(name).release for name in ("r1", "r2")}
        )  # fmt: skip

    @property
    def at(self) -> Environment:
        return Environment(self.settings, FakeHost(FOLDER), tuple(self.hosts.values()))

    def fleet(self, name: str) -> Fleet:
        code = desired.Code(Checkout(name * 20, "2026-01-01T00:00:00Z"), IMAGES, {})
        made = desired.bundles(self.at, model(DATA), code, {})
        runs = [Run(self.settings, host, made[host.name]) for host in self.hosts.values()]
        for run in runs:
            run.state.keep(run.bundle)
            self.hosts[run.host.name].engine.made = frozenset(run.release.resources)
        return Fleet(self.at, tuple(runs))

    def deploy(self, name: str) -> Outcome:
        return applied(self.fleet(name), "deploy")

    @property
    def serving(self) -> str:
        """What answers: the release that runs behind the edge's colour, the same on every host."""
        colour = self.hosts["front"].route()["colour"]
        found = [
            c
            for host in self.hosts.values()
            for c in host.engine.observed.values()
            if (c.role, c.colour, c.up) == ("web", colour, True)
        ]
        assert len(found) == 2, found
        release = {c.release for c in found}
        assert len(release) == 1, found
        return release.pop()

    def running(self) -> set[str]:
        return {
            c.release for host in self.hosts.values() for c in host.engine.observed.values() if c.alive and c.colour
        }

    def idle(self, release: str) -> None:
        """Fail unless this release alone runs, and nothing is left to do."""
        assert self.running() == {release}
        fleet = kept_fleet(self.at, release)
        plans = make_plans(fleet.observed(observe_all(self.at)), "deploy")
        assert {name: plan.steps for name, plan in plans.items()} == dict.fromkeys(plans, ())

    def revive(self) -> None:
        self.dead.clear()
        for host in self.hosts.values():
            host.fault = host.killed_at = host.broken = None
            host.mute = False


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_all_go_over_with_one_switch_and_back(site: Site) -> None:
    third = site.deploy("r3")
    assert site.serving == third.release
    site.idle(third.release)
    assert {place.colour for place in third.hosts} == {"blue"}
    assert not site.deploy("r3").changed
    assert commands.rollback(site.at).release == site.observed["r2"] == site.serving
    site.idle(site.observed["r2"])


def test_the_edge_names_every_host_by_its_private_address(site: Site) -> None:
    front = site.hosts["front"]
    text = (front.edge_folder / "current" / "upstreams.conf").read_text()
    for colour, port in (("blue", 18000), ("green", 28000)):
        block = text.partition(f"upstream backend_{colour} {{")[2].partition("}")[0]
        assert [f"server 10.0.0.{n}:{port}" in block for n in (2, 3)] == [True, True]
    rendered = State(site.hosts["app2"], FOLDER).bundle(site.observed["r2"]).files["green.yml"]
    assert "10.0.0.3:28000:8000" in rendered


@pytest.mark.parametrize("victim", SERVERS)
@pytest.mark.parametrize("number", range(11))
def test_killed_at_any_step_another_machine_converges(site: Site, victim: str, number: int) -> None:
    then = ("resume", "abort", "deploy", "another")[(number + [*SERVERS].index(victim)) % 4]
    site.hosts[victim].kill_at(number, "begin" if number % 2 else "done", Killed)
    with suppress(Killed):  # not every host has so many steps
        site.deploy("r3")
    site.revive()
    assert site.serving, "before any command is typed"
    if then == "deploy":
        found = site.deploy("r3").release
    elif then == "another":
        found = site.deploy("r4").release
    else:
        getattr(commands, then)(site.at)
        found = site.serving
    assert site.serving == found
    site.idle(found)
    assert [State(host, FOLDER).intention() for host in site.hosts.values()] == [None] * 3


@pytest.mark.parametrize(
    ("step", "bad"),
    [
        *((step, bad) for step in ("StartColour", "AwaitHealthy", "Drain", "StopColour") for bad in ("app1", "app2")),
        *((step, "front") for step in ("AwaitServed", "Switch", "Drain")), ("Quiet", "app1"),
    ],
)  # fmt: skip
def test_what_fails_on_one_host_takes_all_back(site: Site, step: str, bad: str) -> None:
    fail_at(site.hosts[bad], step)
    with pytest.raises(OpsError) as raised:
        site.deploy("r3")
    assert (site.serving, raised.value.code) == (site.observed["r2"], 1)
    site.idle(site.observed["r2"])
    site.idle(site.deploy("r3").release)


@pytest.mark.parametrize("bad", ["app1", "app2"])
def test_a_container_that_is_gone_behind_the_edge_moves_all_to_the_other_colour(site: Site, bad: str) -> None:
    engine = site.hosts[bad].engine
    web = next(c.name for c in engine.observed.values() if c.role == "web" and c.alive)
    engine.change(web, state="exited", health="")
    site.deploy("r2")
    assert site.serving == site.observed["r2"]
    site.idle(site.observed["r2"])


def test_without_the_edges_host_status_shows_what_runs_on_the_others(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    def gone(environment: str) -> Any:
        raise Unreachable("the connection to front broke")

    site.hosts["front"].engine.containers = gone  # type: ignore[method-assign]  # as if it were down
    with pytest.raises(OpsError, match="the connection to front broke"):
        status.show(site.at, json=False)
    output = capsys.readouterr()
    assert "on app1: unknown while front does not answer" in output.err
    assert output.out.count("worker") == 2
    with pytest.raises(OpsError):
        status.show(site.at, json=True)
    document = json.loads(capsys.readouterr().out)
    assert (document["release"], [host["name"] for host in document["hosts"]]) == (None, ["app1", "app2"])
    assert set(document["unreachable"]) == {"app1", "app2", "front"}


def test_status_says_what_visitors_get(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    status.show(site.at, json=True)
    assert [host["edge"]["answers"] for host in json.loads(capsys.readouterr().out)["hosts"]] == [None, None, True]
    site.hosts["front"].mute = True
    with pytest.raises(GateClosed, match=r"visitors get errors:\n +front: backend answers 502 through its edge"):
        status.show(site.at, json=False)
    capsys.readouterr()
    with pytest.raises(GateClosed):
        status.show(site.at, json=True)
    assert [host["edge"]["answers"] for host in json.loads(capsys.readouterr().out)["hosts"]] == [None, None, False]


def test_the_maintenance_page_can_be_shown_while_an_app_host_is_down(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> Any:
        raise Unreachable("the connection to app1 broke")

    for name in ("try_run", "read", "open"):
        monkeypatch.setattr(site.hosts["app1"], name, gone)
    monkeypatch.setattr(site.hosts["app1"].engine, "containers", gone)
    assert maintenance.turn(site.at, on=True, off=False) == "maintenance is on; inv maintenance --off ends it"
    assert site.hosts["front"].route()["maintenance"]


def test_rolling_takes_one_turn_behind_the_edge(tmp_path: Path) -> None:
    site = Site(tmp_path, strategy="rolling")
    scale.scale(site.at, "worker=2")
    site.idle(site.deploy("r3").release)


def test_what_the_edge_may_name_is_not_stopped_when_it_cannot_be_taken_back(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    front: Any = site.hosts["front"]
    again: list[str] = []

    def broken(path: Path, line: str) -> None:
        Behind.append(front, path, line)
        if '"step": "Drain", "state": "begin"' in line:
            again.append("Drain")
            front.broken = (lambda: OpsError("the second")) if len(again) == 3 else None

    front.append = broken
    fail_at(site.hosts["app1"], "StopColour")
    with pytest.raises(OpsError, match="StopColour failed"):
        site.deploy("r3")
    assert "the edge on front may name what runs behind it" in capsys.readouterr().err


def test_a_service_behind_the_edge_has_one_container_a_host(site: Site) -> None:
    with pytest.raises(Refused, match="backend has one container on each host behind the edge of front"):
        scale.scale(site.at, "backend=2")
    assert scale.scale(site.at, "worker=2")
    many = DATA.replace("  backend:\n", "  backend:\n    scale: 2\n")
    with pytest.raises(Refused, match="add hosts, not replicas"):
        placement.place(model(many), SERVERS)


@pytest.mark.parametrize(
    ("name", "roles", "words"),
    [
        ("app2", ["app"], r"hosts\.app2\.private is missing"),
        ("app2", ["app", "edge"], "app1 has the role app without edge.*front has the role edge without app"),
    ],
)
def test_what_cannot_be_behind_is_refused(name: str, roles: Any, words: str) -> None:
    with pytest.raises(Refused, match=f"(?s){words}"):
        placement.place(model(DATA), SERVERS | {name: Server(address="192.0.2.9", roles=roles)})


def test_the_ways_that_are_proven() -> None:
    assert sorted(placement.paths(model(DATA), SERVERS)) == [
        ("backend", "app1", 18000, ("front",)), ("backend", "app1", 28000, ("front",)),
        ("backend", "app2", 18000, ("front",)), ("backend", "app2", 28000, ("front",)),
        ("redis", "front", 6379, ("app1", "app2")),
    ]  # fmt: skip
