"""Hosts that come apart: a line that one lacks, a connection that breaks, a way back that fails, a host that is new."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.core.errors import Interrupted, OpsError, Refused, Unreachable
from deploy.rollout import commands, maintenance, revert, scale
from deploy.rollout.interrupted_releases import interruptions
from deploy.site import hooks, interrupted, notify
from deploy.site.event import Event
from deploy.state import journal
from deploy.state.store import State, state_of
from tests.flow import test_behind as behind
from tests.support.apart import FOLDER, NAMES, Apart, Site
from tests.support.faults import FULL, clear_faults, cut, fail_at, killed, once, when
from tests.support.place import FAST, STEPS, Killed, Place
from tests.support.roles import Roles
from tests.support.samples import settings

pytestmark = pytest.mark.usefixtures("no_waiting")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.mark.parametrize("error", [FULL, Unreachable("the connection to app2 broke")])
def test_what_serves_everywhere_is_not_undone_on_the_one_host_that_has_not_written_it_down(
    site: Site, error: Exception
) -> None:
    once(site.hosts["app2"], "ledger.jsonl", error)
    try:
        site.deploy("r3")
    except Interrupted as raised:
        assert "r3" in raised.serves  # noqa: PT017  # a full disk is a warning, a connection that broke is this
    with pytest.raises(Refused, match="r3 serves, and the ledger of app2 has no entry for it"):
        commands.abort(site.at)
    assert site.serving == ["r3"] * 3
    commands.resume(site.at)
    assert [State(host, FOLDER).served()[0] for host in site.hosts.values()] == ["r3"] * 3


@pytest.mark.parametrize("again", ["worker", "disk"])
def test_what_served_everywhere_is_not_undone_when_a_resume_fails(site: Site, again: str) -> None:
    once(site.hosts["app2"], "ledger.jsonl", FULL)
    site.deploy("r3")
    if again == "disk":
        once(site.hosts["app3"], "journal.jsonl", FULL)
    else:
        engine = site.hosts["app1"].engine
        engine.change(
            next(c.name for c in engine.observed.values() if c.service == "worker" and c.alive),
            state="exited",
            health="",
        )
        fail_at(site.hosts["app1"], "AwaitHealthy")
    with pytest.raises(Interrupted, match="nothing was undone, since it serves everywhere"):
        commands.resume(site.at)
    assert site.serving == ["r3"] * 3
    site.revive()
    with pytest.raises(Refused, match="r3 serves, and the ledger of app2 has no entry for it"):
        commands.abort(site.at)
    commands.resume(site.at)
    assert [State(host, FOLDER).served()[0] for host in site.hosts.values()] == ["r3"] * 3


def test_a_release_that_one_host_alone_serves_is_undone_when_it_fails_on_others(site: Site) -> None:
    app3, all_of_them = site.hosts.pop("app3"), site.settings
    site.settings = all_of_them.model_copy(
        update={"hosts": {name: all_of_them.hosts[name] for name in ("app1", "app2")}}
    )
    site.deploy("r3")
    site.hosts["app3"], site.settings = app3, all_of_them
    fail_at(site.hosts["app2"], "Switch")
    with pytest.raises(
        Interrupted, match="each host went back to what it had served: app1 to r3, app2 to r3, app3 to r2"
    ):
        commands.rollback(site.at, to="r2")
    assert site.serving == ["r3", "r3", "r2"]


def test_a_way_back_that_fails_after_the_switch_is_named_and_aborted(place: Place) -> None:
    """Visitors have the former release again, but workers of the one that failed still take tasks."""
    when(place.host, "StopColour", "begin", lambda: setattr(place.host, "broken", lambda: OpsError("it is stuck")))
    fail_at(place.host, "Watch")
    with pytest.raises(Interrupted, match="localhost could not be taken back") as raised:
        place.deploy("r3")
    assert ("release r2" in raised.value.serves, ("worker", "r3") in place.running()) == (True, True)
    vars(place.host).pop("append")
    commands.abort(place.at)
    assert (place.serving(), place.running()) == ("r2", {(name, "r2") for name in ("backend", "worker", "beat")})


def test_abort_does_not_empty_a_host_whose_ledger_was_lost(place: Place) -> None:
    (place.state.folder / "ledger.jsonl").unlink()
    with pytest.raises(Refused, match="whose ledger has no entry for it") as raised:
        commands.abort(place.at)
    assert raised.value.then == "inv resume"
    commands.resume(place.at)
    assert place.serving() == "r2"


def test_a_new_host_does_not_keep_a_release_that_failed(tmp_path: Path) -> None:
    site = Site(tmp_path)
    new: Any = Apart("app0", tmp_path / "app0", site.dead)
    site.hosts = {"app0": new, **site.hosts}
    killed(site, new, "Switch", "r3")
    fail_at(site.hosts["app1"], "Switch")
    with pytest.raises(OpsError) as raised:
        commands.resume(site.at)
    assert (raised.value.code, site.serving, site.facts()["app0"].edge.release) == (1, ["r2"] * 3, None)


def test_hosts_that_served_different_releases_before_are_no_plain_failure(site: Site) -> None:
    app1: Any = site.hosts["app1"]
    killed(site, app1, "Switch", "r3")
    fail_at(site.hosts["app2"], "AwaitHealthy")
    with pytest.raises(
        Interrupted, match="each host went back to what it had served: app1 to r3, app2 to r2, app3 to r2"
    ):
        site.deploy("r4")
    site.revive()
    commands.abort(site.at)
    assert (site.serving, site.running()) == (["r2"] * 3, {"r2"})


def test_a_command_is_later_than_what_is_written_down_whoever_has_the_clock(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.rollout.apply.now", lambda: "2030-01-01T00:00:50Z")
    site.deploy("r3")
    monkeypatch.setattr("deploy.rollout.apply.now", lambda: "2030-01-01T00:00:30Z")
    app1: Any = site.hosts["app1"]
    killed(site, app1, "Switch", "r4")
    assert {output.target for output in interruptions(site.at, site.at.hosts).values()} == {"r4"}


def test_a_network_that_is_gone_once_all_have_switched_is_an_interruption(tmp_path: Path) -> None:
    """Exit 1 would say that the release before serves."""
    site = Site(tmp_path, batch=1)  # app3 is the last
    hosts = site.hosts.values()
    when(site.hosts["app3"], "Switch", "done", lambda: cut(*hosts))
    with pytest.raises(Interrupted, match="app1, app2, app3 could not be taken back"):
        site.deploy("r3")
    clear_faults(*hosts)
    assert site.serving == ["r3"] * 3
    assert commands.abort(site.at)
    assert (site.serving, site.running()) == (["r2"] * 3, {"r2"})


@pytest.mark.parametrize("then", ["resume", "abort"])
def test_a_host_that_cannot_be_taken_back_leaves_the_choice(site: Site, then: str) -> None:
    fail_at(site.hosts["app3"], "Switch")
    first: Any = site.hosts["app1"]
    calls: list[str] = []

    def again() -> None:
        calls.append("Switch")
        if len(calls) == 2:
            first.broken = lambda: OpsError("the second")

    when(first, "Switch", "begin", again)
    with pytest.raises(Interrupted, match="Switch failed on app3; app1 could not be taken back") as raised:
        site.deploy("r3")
    assert raised.value.code == 5
    assert site.serving == ["r3", "r2", "r2"]
    site.revive()
    assert getattr(commands, then)(site.at)
    wanted = "r3" if then == "resume" else "r2"
    assert (site.serving, site.running()) == ([wanted] * 3, {wanted})


def test_held_a_host_whose_watch_failed_goes_back(tmp_path: Path) -> None:
    site = Site(tmp_path, on_failure="hold", watch=0.001)
    fail_at(site.hosts["app1"], "Watch")
    with pytest.raises(OpsError) as raised:
        site.deploy("r3")
    assert (site.serving, raised.value.code) == (["r2"] * 3, 1)


def test_held_a_host_that_could_not_be_taken_back_is_named(tmp_path: Path) -> None:
    site = Site(tmp_path, on_failure="hold")
    app2: Any = site.hosts["app2"]
    when(app2, "Switch", "done", lambda: cut(app2))
    with pytest.raises(
        Interrupted, match="the new release stays on app1, app3, app2 could not be taken back"
    ) as raised:
        site.deploy("r3")
    assert raised.value.then.startswith("once app2 can be reached, inv resume")


@pytest.mark.parametrize("bad", ["front", "app1"])
def test_behind_one_edge_nothing_is_held(tmp_path: Path, bad: str) -> None:
    site = behind.Site(tmp_path, on_failure="hold")
    fail_at(site.hosts[bad], "Drain" if bad == "front" else "StopColour")
    with pytest.raises(OpsError) as raised:
        site.deploy("r3")
    assert (raised.value.code, site.serving) == (1, site.observed["r2"])


def test_held_all_who_hear_of_failures_hear_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site, notified, hooked = Site(tmp_path, on_failure="hold"), list[Event](), list[str]()
    monkeypatch.setattr(notify, "send", lambda *output: notified.append(output[-1]))
    monkeypatch.setattr(hooks, "follow", lambda *output: hooked.append(output[1]))
    fail_at(site.hosts["app2"], "Switch")
    with pytest.raises(Interrupted, match="the new release stays on app1, app3, the others went back"):
        site.deploy("r3")
    assert ("Switch failed on app2" in notified[-1].error, hooked) == (True, ["on_failure"])


def test_ctrl_c_while_going_back_is_an_interruption(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(*_: object) -> None:
        raise KeyboardInterrupt

    fail_at(site.hosts["app2"], "Switch")
    with monkeypatch.context() as patched:
        patched.setattr(revert, "apply_reversals", typed)
        with pytest.raises(Interrupted, match="interrupted"):
            site.deploy("r3")
    site.revive()
    assert commands.abort(site.at)
    assert site.serving == ["r2"] * 3


def test_whoever_lost_the_lock_does_not_go_back_whatever_failed_beside(site: Site) -> None:
    fail_at(site.hosts["app1"], "StartColour", ValueError("odd"))  # type: ignore[arg-type]  # nobody foresaw it
    fail_at(site.hosts["app2"], "StartColour", Interrupted("the lock was lost"))
    with pytest.raises(Interrupted, match=r"(?s)app1: ValueError: odd.*app2: the lock was lost"):
        site.deploy("r3")


def test_a_beginning_that_one_host_cannot_write_down_is_a_failure_of_all(site: Site) -> None:
    once(site.hosts["app3"], "journal.jsonl", FULL)
    with pytest.raises(OpsError, match="No space left"):
        site.deploy("r3")
    assert [State(host, FOLDER).intention() for host in site.hosts.values()] == [None] * 3
    assert site.serving == ["r2"] * 3


def test_the_canary_is_a_host_that_people_visit(tmp_path: Path) -> None:
    site, servers = Roles(tmp_path), {"data1": "data", "web1": "edge app worker", "web2": "edge app"}
    site.deploy("r1", servers)
    site.hosts["web2"].executed.clear()
    fail_at(site.hosts["web1"], "Switch")
    with pytest.raises(OpsError):
        site.deploy("r2", servers)
    assert not any("-HUP" in line for line in site.hosts["web2"].executed)


def test_workers_that_have_no_more_place_on_a_host_take_no_tasks_of_the_next_release(tmp_path: Path) -> None:
    site = Roles(tmp_path)
    site.deploy("r1", {"main": "edge app worker data", "z": "edge app"})
    site.deploy("r2", {"main": "edge app data", "z": "edge app worker"})
    assert '"Quiet"' in (site.hosts["main"].read(FOLDER / "journal.jsonl") or "")


def test_a_rollback_does_not_start_data_where_it_was_before(tmp_path: Path) -> None:
    site = Roles(tmp_path)
    site.deploy("r1", {"main": "edge app worker data", "z": "edge app"})
    containers = site.hosts["main"].engine.observed
    del containers[next(name for name, c in containers.items() if c.service == "redis")]  # its data was brought to z
    site.deploy("r2", {"main": "edge app worker", "z": "edge app data"})
    with pytest.raises(Refused, match=r"redis runs on z, and release .* has it on main"):
        commands.rollback(site.at)
    assert site.where("redis") == {"z"}


def test_a_host_that_joins_has_the_numbers_and_the_page_of_the_others(site: Site, tmp_path: Path) -> None:
    scale.scale(site.at, "backend=2")
    maintenance.turn(site.at, on=True, off=False)
    site.hosts["app4"] = Apart("app4", tmp_path / "app4", site.dead)
    site.deploy("r3")
    there = {
        name: sum(c.service == "backend" and c.alive for c in host.engine.observed.values())
        for name, host in site.hosts.items()
    }
    assert there == dict.fromkeys((*NAMES, "app4"), 2)
    assert all(facts.edge.maintenance for facts in site.facts().values())


def test_a_worker_that_crashes_cannot_keep_a_rollback_from_its_end(place: Place) -> None:
    def crash() -> None:
        for c in [*place.host.engine.observed.values()]:
            if (c.service, c.release, c.alive) == ("worker", "r2", True):
                place.host.engine.change(c.name, state="restarting", health="")

    when(place.host, "AwaitTasks", "begin", crash)
    commands.rollback(place.at)
    assert place.serving() == "r1"


def test_after_down_nothing_is_cut_off(place: Place) -> None:
    place.host.kill_at(STEPS.index("Drain"), "begin", Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    assert place.state.intention()
    place.state.note(command="down", state="done", volumes=True)
    assert place.state.intention() is None


@pytest.fixture
def grown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> behind.Site:
    """One edge with an app host behind it, and a second that the settings have since."""
    all_of_them = dict(behind.SERVERS)
    with monkeypatch.context() as before:
        before.setattr(behind, "SERVERS", {name: server for name, server in all_of_them.items() if name != "app2"})
        site = behind.Site(tmp_path)
    site.settings = settings(state=FOLDER, rollout={**FAST, "watch": 0}, hosts=all_of_them)
    site.hosts["app2"] = behind.Behind("app2", tmp_path / "app2", site.dead)
    site.hosts = {name: site.hosts[name] for name in sorted(site.hosts)}
    for name, host in site.hosts.items():
        host.site, host.front = site, site.hosts.get(site.settings.fronts.get(name, ""))
    return site


@pytest.mark.parametrize(("bad", "step"), [("front", "Switch"), ("app1", "StartColour")])
def test_a_new_host_behind_the_edge_goes_back_to_nothing(grown: behind.Site, bad: str, step: str) -> None:
    fail_at(grown.hosts[bad], step)
    with pytest.raises(OpsError) as raised:
        grown.deploy("r3")
    assert (grown.running(), raised.value.code) == ({grown.observed["r2"]}, 1)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_abort_takes_a_new_host_behind_the_edge_to_nothing(grown: behind.Site, number: int) -> None:
    grown.hosts["app2"].kill_at(number, "begin", Killed)
    with pytest.raises(Killed):
        grown.deploy("r3")
    grown.revive()
    commands.abort(grown.at)
    assert grown.running() == {grown.observed["r2"]}


def test_abort_does_not_look_for_what_serves_in_front_on_a_host_that_is_new(grown: behind.Site) -> None:
    assert commands.abort(grown.at) is None
    app2: Any = grown.hosts["app2"]

    def gone(*_: object) -> None:
        cut(app2)
        raise Unreachable("the connection to app2 broke")

    app2.append = gone
    with pytest.raises(Interrupted, match="app2 could not be taken back"):
        grown.deploy("r3")
    clear_faults(app2)
    assert commands.abort(grown.at)


@pytest.mark.parametrize("then", ["abort", "resume"])
def test_a_host_that_lost_its_state_behind_the_edge_is_not_emptied(tmp_path: Path, then: str) -> None:
    site = behind.Site(tmp_path)
    site.hosts["app1"].remove(FOLDER)
    front: Any = site.hosts["front"]
    killed(site, front, "AwaitServed", "r3")
    if then == "abort":
        with pytest.raises(Refused, match="serves on app1, whose ledger has no entry for it") as raised:
            commands.abort(site.at)
        assert raised.value.then == "inv resume"
        assert site.serving == site.observed["r2"]
    assert commands.resume(site.at)
    assert site.serving.startswith("r3")


def test_a_log_that_cannot_be_read_does_not_keep_the_others_from_going_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = behind.Site(tmp_path)

    def slow(name: str) -> str:
        raise TimeoutError("Read timed out")

    monkeypatch.setattr(site.hosts["app1"].engine, "logs", slow)
    fail_at(site.hosts["app1"], "AwaitHealthy")
    with pytest.raises(OpsError):
        site.deploy("r3")
    assert site.running() == {site.observed["r2"]}


def test_a_command_that_has_ended_on_one_host_is_still_interrupted_on_another(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It begins on each in turn: where it ended it may have begun later than where it was cut off."""
    first, second = (state_of(site.at, site.hosts[name]) for name in ("app1", "app2"))

    def note(state: State, time: str, end: str) -> None:
        monkeypatch.setattr(journal, "now", lambda: f"2126-01-01T00:00:{time}Z")
        state.note(command="restore", state=end, target="b7")

    journal.begin_run()
    note(second, "00", "begin")
    note(first, "01", "begin")
    note(first, "09", "done")
    assert list(interrupted.interruptions(site.at)["restore"].on) == ["app2"]
    with pytest.raises(Interrupted, match="restore of b7 was interrupted on app2"):
        interrupted.require_no_other(site.at)
    journal.begin_run()
    note(first, "10", "begin")
    note(first, "11", "done")
    assert not interrupted.interruptions(site.at), "another run came after"
