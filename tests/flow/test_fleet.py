"""One release on three hosts: all of them change, or none does, whatever fails and wherever the operator dies."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.core.errors import Interrupted, Locked, OpsError, Refused, Unreachable
from deploy.rollout import commands, steps
from deploy.rollout.execute import batches, stages
from deploy.rollout.interrupted_releases import interruptions
from deploy.rollout.steps import Stage
from deploy.state import locks
from deploy.state.store import State
from tests.support.apart import FOLDER, NAMES, Apart, Site
from tests.support.faults import fail_at
from tests.support.place import Killed


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
    assert {name: facts.schema.release for name, facts in site.facts().items() if facts.schema} == dict.fromkeys(
        NAMES, "r2"
    )


@pytest.mark.parametrize("bad", NAMES)
@pytest.mark.parametrize("step", ["AwaitHealthy", "AwaitServed", "StartColour", "RunJob"])
def test_what_fails_on_one_host_before_any_has_switched_switches_none(site: Site, bad: str, step: str) -> None:
    for host in site.hosts.values():
        host.executed.clear()
    fail_at(site.hosts[bad], step)
    with pytest.raises(OpsError, match=rf"(?s){bad}|did not"):
        site.deploy("r3")
    assert (site.serving, site.switches()) == (["r2"] * 3, [])
    assert site.running() == {"r2"}


@pytest.mark.parametrize("bad", NAMES)
def test_what_fails_after_others_have_switched_unwinds_them_all(site: Site, bad: str) -> None:
    fail_at(site.hosts[bad], "Switch")
    with pytest.raises(OpsError) as raised:
        site.deploy("r3")
    assert (site.serving, site.running(), raised.value.code) == (["r2"] * 3, {"r2"}, 1)
    assert "r2" in raised.value.serves
    assert [State(host, FOLDER).ledger()[-1].outcome for host in site.hosts.values()] == ["failed"] * 3


def test_held_what_has_switched_stays_and_resume_goes_on(tmp_path: Path) -> None:
    site = Site(tmp_path, on_failure="hold")
    fail_at(site.hosts["app2"], "Switch")
    with pytest.raises(Interrupted, match="app2") as raised:
        site.deploy("r3")
    assert raised.value.code == 5
    assert site.serving[:2] == ["r3", "r2"]
    assert "r3" in raised.value.serves
    assert "r2" in raised.value.serves
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
        with pytest.raises(Locked, match="locked by") as raised:
            commands.rollback(site.at)
        assert "app2" in raised.value.where
        with locks.held([site.hosts["app1"]], FOLDER, "status"):
            pass
    assert commands.rollback(site.at)


STEP = st.sampled_from([
    steps.StartShared(("x",)), steps.Migrate("blue", "b", ()), steps.RunJob("blue", "s"),
    steps.StartColour("blue", ("b",)),
    steps.Quiet("blue", ("w",)), steps.Switch("blue", "r", 2), steps.Watch("blue", "r"), steps.Drain("green"),
    steps.StopColour("green", ()),
])  # fmt: skip


@given(st.lists(STEP, max_size=12))
def test_a_plan_that_is_cut_keeps_its_order_and_never_switches_early(plan: list[steps.Step]) -> None:
    cut = stages(plan)
    assert [step for stage in sorted(cut) for step in cut[stage]] == plan
    assert all(
        not isinstance(step, steps.Switch) for stage, part in cut.items() if stage < Stage.SWITCH for step in part
    )


def test_the_edge_is_asked_for_a_colour_once_it_is_well_everywhere() -> None:
    start, healthy = steps.StartColour("blue", ("b",)), steps.AwaitHealthy("blue", ("b",))
    plan = [
        start,
        healthy,
        steps.AwaitServed("blue"),
        steps.Switch("blue", "r", 2),
        steps.StopColour("green", ("b",)),
        start,
        healthy,
    ]
    assert [*stages(plan)] == [Stage.START, Stage.SERVED, Stage.SWITCH, Stage.RETIRE, Stage.TAKE_OVER]


@pytest.mark.parametrize(
    ("canary", "size", "expected"),
    [
        (1, 0, [[1], [2, 3, 4]]),
        (1, 2, [[1], [2, 3], [4]]),
        (0, 0, [[1, 2, 3, 4]]),
        (2, 1, [[1, 2], [3], [4]]),
        (9, 0, [[1, 2, 3, 4]]),
    ],
)
def test_a_canary_then_batches(canary: int, size: int, expected: list[list[int]]) -> None:
    assert batches([1, 2, 3, 4], canary, size) == expected
