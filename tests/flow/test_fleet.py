"""One release on three hosts: all of them change, or none does, whatever fails and wherever the operator dies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core.errors import Interrupted, Locked, OpsError, Refused, Unreachable
from deploy.core.model import Facts
from deploy.core.shell import Command, Result
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import Server
from deploy.rollout import commands, steps
from deploy.rollout.apply import Outcome
from deploy.rollout.interrupted import interruptions
from deploy.rollout.stages import batches, stages
from deploy.rollout.steps import Stage
from deploy.site.facts import observe_all
from deploy.site.run import Fleet, Run
from deploy.state import locks
from deploy.state.store import State
from tests.flow.fake import FakeHost
from tests.flow.faults import fail_at
from tests.flow.place import FAST, Killed, applied, bundled
from tests.samples import settings

FOLDER = Path("/var/lib/shop-test")
NAMES = ("app1", "app2", "app3")


class Apart(FakeHost):
    """A fake host with files of its own, although every host has them at the same paths; `dead` ends whatever works on it."""

    def __init__(self, name: str, root: Path, dead: Event) -> None:
        super().__init__(root / FOLDER.relative_to("/") / "edge")
        self.name, self.root, self.dead = name, root, dead

    def real(self, path: Path) -> Path:
        return self.root / path.relative_to("/") if path.is_relative_to(FOLDER) else path

    def hit(self) -> None:
        if self.dead.is_set():
            raise Killed
        super().hit()

    def append(self, path: Path, line: str) -> None:
        if self.dead.is_set():
            raise Killed
        try:
            super().append(self.real(path), line)
        except Killed:
            self.dead.set()
            raise

    def write(self, path: Path, text: str, *, mode: int = 0o644) -> None:
        super().write(self.real(path), text, mode=mode)

    def read(self, path: Path) -> str | None:
        return super().read(self.real(path))

    def listdir(self, folder: Path) -> list[str]:
        return super().listdir(self.real(folder))

    def remove(self, path: Path) -> None:
        super().remove(self.real(path))

    def symlink(self, link: Path, target: str) -> None:
        super().symlink(self.real(link), target)

    def readlink(self, link: Path) -> str | None:
        return super().readlink(self.real(link))

    @contextmanager
    def changing(self) -> Iterator[None]:
        here = LocalHost()
        here.name, here.guards = self.name, tuple(replace(guard, changing=self.real(guard.changing)) for guard in self.guards)
        with here.changing():
            yield

    def placed(self, command: Command) -> Command:
        words = (word.replace(str(FOLDER), str(self.real(FOLDER))) for word in command.argv)
        return replace(command, argv=tuple(words))

    def open(self, command: Command, *, fed: bool = False) -> Any:
        return super().open(self.placed(command), fed=fed)

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        return super().try_run(self.placed(command), stdin=stdin, timeout=timeout)


class Site:
    """Three hosts that serve r2; r1 served before."""

    def __init__(self, root: Path, names: tuple[str, ...] = NAMES, kind: type[Apart] = Apart, **rollout: Any) -> None:
        servers = {name: Server(address=f"10.0.0.{n}") for n, name in enumerate(names, 1)}
        self.settings: Settings = settings(state=FOLDER, rollout={**FAST, "watch": 0, **rollout}, hosts=servers)
        self.dead = Event()
        self.hosts = {name: kind(name, root / name, self.dead) for name in names}
        for name in ("r1", "r2"):
            self.deploy(name)

    @property
    def at(self) -> Environment:
        return Environment(self.settings, FakeHost(FOLDER), tuple(self.hosts.values()))

    def deploy(self, name: str) -> Outcome:
        runs = [Run(self.settings, host, bundled(name)) for host in self.hosts.values()]
        for run in runs:
            run.state.keep(bundled(name))
        return applied(Fleet(self.at, tuple(runs)), "deploy")

    def facts(self) -> dict[str, Facts]:
        return observe_all(self.at)

    @property
    def serving(self) -> list[str | None]:
        for facts in self.facts().values():
            assert all(c.up for c in facts.named), "what an edge names does not run"
        return [self.facts()[name].edge.release for name in NAMES]

    def running(self) -> set[str]:
        return {c.release for host in self.hosts.values() for c in host.engine.known.values() if c.alive and c.colour}

    def switches(self) -> list[str]:
        return [name for name, host in self.hosts.items() for said in host.said if "-HUP" in said]

    def revive(self) -> None:
        """Another operator comes, from another machine."""
        self.dead.clear()
        for host in self.hosts.values():
            host.fault = host.killed_at = host.broken = None
            host.mute = False


@pytest.fixture
def site(tmp_path: Path, no_waiting: None) -> Site:
    return Site(tmp_path)


def test_every_host_gets_the_release_and_has_it_in_its_ledger(site: Site) -> None:
    outcome = site.deploy("r3")
    assert (site.serving, site.running()) == (["r3"] * 3, {"r3"})
    assert [place.name for place in outcome.hosts] == list(NAMES)
    assert [State(host, FOLDER).served()[0] for host in site.hosts.values()] == ["r3"] * 3
    assert not site.deploy("r3").changed


def test_one_host_migrates_and_every_host_knows_the_schema(site: Site) -> None:
    assert {name: facts.schema.release for name, facts in site.facts().items() if facts.schema} == dict.fromkeys(NAMES, "r2")


@pytest.mark.parametrize("bad", NAMES)
@pytest.mark.parametrize("step", ["AwaitHealthy", "AwaitServed", "StartColour", "RunJob"])
def test_what_fails_on_one_host_before_any_has_switched_switches_none(site: Site, bad: str, step: str) -> None:
    for host in site.hosts.values():
        host.said.clear()
    fail_at(site.hosts[bad], step)
    with pytest.raises(OpsError, match=rf"(?s){bad}|did not"):
        site.deploy("r3")
    assert (site.serving, site.switches()) == (["r2"] * 3, [])
    assert site.running() == {"r2"}


@pytest.mark.parametrize("bad", NAMES)
def test_what_fails_after_others_have_switched_unwinds_them_all(site: Site, bad: str) -> None:
    fail_at(site.hosts[bad], "Switch")
    with pytest.raises(OpsError) as told:
        site.deploy("r3")
    assert (site.serving, site.running(), told.value.code) == (["r2"] * 3, {"r2"}, 1)
    assert "r2" in told.value.serves
    assert [State(host, FOLDER).ledger()[-1].outcome for host in site.hosts.values()] == ["failed"] * 3


def test_held_what_has_switched_stays_and_resume_goes_on(tmp_path: Path) -> None:
    site = Site(tmp_path, on_failure="hold")
    fail_at(site.hosts["app2"], "Switch")
    with pytest.raises(Interrupted, match="app2") as told:
        site.deploy("r3")
    assert told.value.code == 5
    assert site.serving[:2] == ["r3", "r2"]
    assert "r3" in told.value.serves
    assert "r2" in told.value.serves
    site.revive()
    assert commands.resume(site.at)
    assert (site.serving, site.running()) == (["r3"] * 3, {"r3"})


def test_held_and_aborted_all_are_back(tmp_path: Path) -> None:
    site = Site(tmp_path, on_failure="hold")
    fail_at(site.hosts["app3"], "Switch")
    with pytest.raises(Interrupted):
        site.deploy("r3")
    site.revive()
    assert commands.abort(site.at)
    assert (site.serving, site.running()) == (["r2"] * 3, {"r2"})


@pytest.mark.parametrize("victim", NAMES)
@pytest.mark.parametrize("number", range(12))
def test_killed_at_any_step_another_machine_converges(site: Site, victim: str, number: int) -> None:
    then = ("resume", "abort", "deploy")[(number + NAMES.index(victim)) % 3]
    site.hosts[victim].kill_at(number, "begin" if number % 2 else "done", Killed)
    with pytest.raises(Killed):
        site.deploy("r3")
    site.revive()
    assert all(release in ("r2", "r3") for release in site.serving), "before any command is typed"
    wanted = "r2" if then == "abort" else "r3"
    if then == "deploy":
        site.deploy("r3")
    else:
        getattr(commands, then)(site.at)
    assert (site.serving, site.running()) == ([wanted] * 3, {wanted})
    assert [State(host, FOLDER).intention() for host in site.hosts.values()] == [None] * 3


@pytest.mark.parametrize("lost", NAMES)
def test_a_host_that_is_cut_off_is_left_and_the_others_go_back(site: Site, lost: str) -> None:
    """What it serves is not known; when it returns, the next command takes it along."""
    fail_at(site.hosts[lost], "Switch", Unreachable(f"the connection to {lost} broke"))
    with pytest.raises(OpsError, match=f"the connection to {lost} broke"):
        site.deploy("r3")
    assert {release for name, release in zip(NAMES, site.serving, strict=True) if name != lost} == {"r2"}
    site.revive()
    site.deploy("r3")
    assert site.serving == ["r3"] * 3


def test_what_a_host_was_told_before_it_was_away_is_not_taken_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator died, the host was gone, and the others went on without it to a release that came after."""
    site.hosts["app3"].kill_at(7, "done", Killed)
    with pytest.raises(Killed):
        site.deploy("r3")
    away = site.hosts.pop("app3")
    site.revive()
    monkeypatch.setattr("deploy.rollout.apply.now", lambda: "2999-01-01T00:00:00Z")  # a second later at the least
    site.deploy("r4")
    site.hosts["app3"] = away
    assert State(away, FOLDER).intention()
    with pytest.raises(Refused, match=r"different releases \(app1: r4, app2: r4, app3: r.\), and nothing is under way"):
        commands.resume(site.at)
    assert site.serving[:2] == ["r4", "r4"]
    site.deploy("r4")
    assert site.serving == ["r4"] * 3
    assert State(away, FOLDER).intention() is None


def test_a_failed_deploy_is_not_resumed_for_a_host_that_could_not_be_taken_back(site: Site) -> None:
    fail_at(site.hosts["app3"], "Drain", Unreachable("the connection to app3 broke"))
    with pytest.raises(OpsError):
        site.deploy("r3")
    site.revive()
    assert not interruptions(site.at, site.at.hosts)


def test_rollback_takes_all_back(site: Site) -> None:
    assert commands.rollback(site.at).release == "r1"
    assert (site.serving, site.running()) == (["r1"] * 3, {"r1"})


def test_a_host_that_came_later_has_nothing_to_go_back_to(site: Site) -> None:
    new = Apart("app4", site.hosts["app1"].root.parent / "app4", site.dead)
    site.hosts["app4"] = new
    with pytest.raises(Refused, match="app4"):
        commands.rollback(site.at)
    assert site.serving == ["r2"] * 3
    site.deploy("r2")
    assert site.facts()["app4"].edge.release == "r2"


def test_all_locks_or_none(site: Site) -> None:
    with locks.held([site.hosts["app2"]], FOLDER, "deploy"):
        with pytest.raises(Locked, match="locked by") as told:
            commands.rollback(site.at)
        assert "app2" in told.value.where
        with locks.held([site.hosts["app1"]], FOLDER, "status"):
            pass
    assert commands.rollback(site.at)


STEP = st.sampled_from([
    steps.StartShared(("x",)), steps.Migrate("blue", "b", ()), steps.RunJob("blue", "s"), steps.StartColour("blue", ("b",)),
    steps.Quiet("blue", ("w",)), steps.Switch("blue", "r", 2), steps.Watch("blue", "r"), steps.Drain("green"),
    steps.StopColour("green", ()),
])  # fmt: skip


@given(st.lists(STEP, max_size=12))
def test_a_plan_that_is_cut_keeps_its_order_and_never_switches_early(plan: list[steps.Step]) -> None:
    cut = stages(plan)
    assert [step for stage in sorted(cut) for step in cut[stage]] == plan
    assert all(not isinstance(step, steps.Switch) for stage, part in cut.items() if stage < Stage.SWITCH for step in part)


def test_the_edge_is_asked_for_a_colour_once_it_is_well_everywhere() -> None:
    start, healthy = steps.StartColour("blue", ("b",)), steps.AwaitHealthy("blue", ("b",))
    plan = [start, healthy, steps.AwaitServed("blue"), steps.Switch("blue", "r", 2), steps.StopColour("green", ("b",)), start, healthy]
    assert [*stages(plan)] == [Stage.START, Stage.SERVED, Stage.SWITCH, Stage.RETIRE, Stage.TAKE_OVER]


@pytest.mark.parametrize(
    ("canary", "size", "expected"),
    [(1, 0, [[1], [2, 3, 4]]), (1, 2, [[1], [2, 3], [4]]), (0, 0, [[1, 2, 3, 4]]), (2, 1, [[1, 2], [3], [4]]), (9, 0, [[1, 2, 3, 4]])],
)
def test_a_canary_then_batches(canary: int, size: int, expected: list[list[int]]) -> None:
    assert batches([1, 2, 3, 4], canary, size) == expected
