"""Deploys on a fake host: journal, failures, interruptions, going back."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.config import secrets
from deploy.core.errors import CommandFailed, Interrupted, OpsError, Unreachable
from deploy.core.shell import Command, Result
from deploy.hosts.local import LocalHost
from deploy.rollout import commands
from deploy.site.facts import observe
from deploy.site.run import Fleet, Run, kept_fleet
from tests.support.fake import Broken
from tests.support.faults import raising
from tests.support.place import EVERY_STEP, STEPS, Killed, Place, applied, bundled, whole

pytestmark = pytest.mark.usefixtures("no_waiting")
FAULTS: dict[str, Callable[[], BaseException | None]] = {
    "refused": lambda: CommandFailed("docker x", 1, "it did not work", "here"),
    "unforeseen": lambda: ValueError("surprise"),
}


def test_the_steps_below_are_those_of_the_plan(place: Place) -> None:
    assert place.steps("r3") == STEPS


def test_a_deploy_serves_is_recorded_and_has_nothing_left_to_do(place: Place) -> None:
    outcome = place.deploy("r3")
    assert (outcome.release, outcome.changed) == ("r3", True)
    assert place.serving() == "r3"
    assert place.running() == whole("r3")
    last = place.state.ledger()[-1]
    assert (last.release, last.outcome, last.schema_revision, last.colour) == ("r3", "in service", "r2", outcome.colour)
    assert place.steps("r3") == []
    assert place.deploy("r3").changed is False
    assert ("r0" in place.state.kept(), "r2" in place.state.kept()) == (False, True)


def test_the_journal_has_a_line_before_and_after_each_step(place: Place) -> None:
    before = len(place.journal())
    place.deploy("r3")
    first, *lines, last = place.journal()[before:]
    assert (first["command"], first["state"], first["serving"], last["state"]) == ("deploy", "begin", "r2", "done")
    assert [(line["step"], line["state"]) for line in lines] == [
        (name, state) for name in STEPS for state in ("begin", "done")
    ]
    assert all(line["target"] == "r3" and line["time"] for line in lines)


@EVERY_STEP
def test_a_connection_that_breaks_interrupts(place: Place, number: int) -> None:
    """Nothing can be taken back there then; whoever returns goes on or goes back."""
    place.host.fail_at(number, lambda: Unreachable("the connection to app1 broke", where="app1"))
    with pytest.raises(Interrupted, match="the connection to app1 broke; nothing was undone") as raised:
        place.deploy("r3")
    assert raised.value.where == "app1"
    assert place.serving() in ("r2", "r3")
    assert place.state.intention()
    assert commands.resume(place.at)
    assert place.serving() == "r3"


@EVERY_STEP
@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_a_failure_at_any_step_leads_back(place: Place, number: int, fault: str | None) -> None:
    place.host.fail_at(number, FAULTS[fault] if fault else lambda: None)
    with pytest.raises(OpsError) as raised:
        place.deploy("r3")
    assert place.serving() == "r2"
    assert place.running() == whole("r2")
    assert (raised.value.code, "r2" in raised.value.serves) == (1, True)
    assert raised.value.what
    assert raised.value.then
    last = place.state.ledger()[-1]
    assert (last.release, last.outcome) == ("r3", "failed")
    assert place.journal()[-1]["state"] == "failed"
    assert place.steps("r2") == []
    assert place.deploy("r3").release == place.serving() == "r3"


def test_what_an_app_answers_is_reported_without_its_secrets(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    secret, get = "correct-horse-battery", place.host.get
    bundle = replace(bundled("r3"), env=f'PGPASSWORD="{secret}"\n')
    place.state.keep(bundle)

    def answer(port: int, path: str, **more: Any) -> tuple[int, str]:
        return get(port, path, **more) if path == "/generation" else (500, f"cannot connect: password {secret} refused")

    monkeypatch.setattr(place.host, "get", answer)
    with pytest.raises(OpsError, match=r"cannot connect: password \*\*\* refused"):
        applied(Fleet(place.at, (Run(place.settings, place.host, bundle),)), "deploy")
    assert secret not in (place.state.folder / "journal.jsonl").read_text()


@pytest.mark.parametrize("step", ["Watch", "Drain", "StopColour", "Prune"])
def test_going_back_needs_no_room_on_the_disk(place: Place, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full() -> OSError:
        for name in ("write", "append"):
            monkeypatch.setattr(LocalHost, name, raising(OSError(28, "No space left on device")))
        return OSError(28, "No space left on device")

    place.host.fail_at(STEPS.index(step), full)
    with pytest.raises(OpsError, match="No space left"):
        place.deploy("r3")
    assert (place.serving(), place.running()) == ("r2", whole("r2"))
    monkeypatch.undo()
    assert place.deploy("r3").release == place.serving() == "r3"


@EVERY_STEP
def test_ctrl_c_at_any_step_keeps_something_serving_and_deploy_goes_on(place: Place, number: int) -> None:
    place.host.fail_at(number, KeyboardInterrupt)
    with pytest.raises(Interrupted) as raised:
        place.deploy("r3")
    assert raised.value.code == 5
    assert str(place.serving()) in raised.value.serves
    assert len(place.state.ledger()) == 3, "neither in service nor failed"
    place.deploy("r3")
    assert (place.serving(), place.running()) == ("r3", whole("r3"))


@pytest.mark.parametrize("expected", ["hooks.follow", "notify.send"])
def test_ctrl_c_while_people_are_notified_leaves_a_deploy_that_is_done(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], expected: str
) -> None:
    monkeypatch.setattr(f"deploy.site.{expected}", raising(KeyboardInterrupt))
    assert place.deploy("r3").release == place.serving() == "r3"
    assert "interrupted once release r3" in capsys.readouterr().err
    assert (place.state.ledger()[-1].outcome, place.state.intention()) == ("in service", None)


@pytest.fixture
def unwritten(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A place where r3 was put into service while the ledger's disk was full; there is room again."""
    append = place.host.append

    def full(path: Path, line: str) -> None:
        if path.name == "ledger.jsonl":
            raise OSError(28, "No space left on device", str(path))
        append(path, line)

    with monkeypatch.context() as patch:
        patch.setattr(place.host, "append", full)
        assert place.deploy("r3").release == place.serving() == "r3"
    return place


def test_a_release_that_serves_and_cannot_be_written_down_is_a_warning(
    capsys: pytest.CaptureFixture[str], unwritten: Place
) -> None:
    assert "release r3 serves, but that could not be written down: No space left on device" in capsys.readouterr().err
    assert unwritten.running() == whole("r3")
    assert unwritten.state.ledger()[-1].release == "r2"


@pytest.mark.parametrize("then", ["resume", "deploy"])
def test_what_was_not_written_down_is_written_by_the_next_command(unwritten: Place, then: str) -> None:
    if then == "resume":
        assert commands.resume(unwritten.at)
    else:
        unwritten.deploy("r3")
    last = unwritten.state.ledger()[-1]
    assert (last.release, last.outcome, unwritten.state.intention()) == ("r3", "in service", None)


def test_a_release_that_was_not_written_down_can_be_rolled_back(unwritten: Place) -> None:
    assert commands.rollback(unwritten.at).release == unwritten.serving() == "r2"


@EVERY_STEP
@pytest.mark.parametrize("then", ["r3", "r2", "r4"])
def test_killed_at_any_step_any_release_can_follow(place: Place, number: int, then: str) -> None:
    place.host.fail_at(number, Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    assert place.serving() in ("r2", "r3")
    place.deploy(then)
    assert (place.serving(), place.running()) == (then, whole(then))
    assert place.steps(then) == []


def test_the_first_deploy_that_fails_leaves_nothing_running(tmp_path: Path) -> None:
    place = Place(tmp_path)
    number = place.steps("r1").index("AwaitServed")
    place.host.fail_at(number, lambda: None)
    with pytest.raises(OpsError) as raised:
        place.deploy("r1")
    assert (place.serving(), place.running()) == (None, set())
    assert "nothing" in raised.value.serves
    assert place.deploy("r1").release == place.serving() == "r1"


def test_the_error_says_why_a_container_ended(place: Place) -> None:
    place.host.fail_at(STEPS.index("AwaitHealthy"), lambda: None)
    with pytest.raises(OpsError, match=r"(?s)backend.*exited.*exit code 3.*last words of") as raised:
        place.deploy("r3")
    assert "docker logs" in raised.value.then


def test_a_restart_of_last_week_does_not_hinder_going_back(place: Place) -> None:
    colour = observe(place.settings, place.host).edge.colour
    place.host.engine.change(f"shop-local-{colour}-backend-{colour}-1", restarts=3)
    place.host.fail_at(STEPS.index("Drain"), lambda: None)
    with pytest.raises(OpsError):
        place.deploy("r3")
    assert (place.serving(), place.running()) == ("r2", whole("r2"))


def test_containers_that_the_engine_lists_as_running_although_they_stopped_are_started(place: Place) -> None:
    place.host.fail_at(STEPS.index("Switch"), lambda: None)
    with pytest.raises(OpsError):
        place.deploy("r3")
    place.host.stale = {c.name for c in place.host.engine.observed.values() if c.release == "r3"}
    place.deploy("r3")
    assert (place.serving(), place.running()) == ("r3", whole("r3"))


def test_a_second_failure_on_the_way_back_is_shown_and_the_first_is_reported(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    def also() -> OpsError:
        place.host.broken = lambda: OpsError("the second")
        return OpsError("the first")

    place.host.fail_at(STEPS.index("StartColour"), also)
    with pytest.raises(OpsError, match="the first"):
        place.deploy("r3")
    assert "the second" in capsys.readouterr().err
    assert place.serving() == "r2"
    assert place.state.ledger()[-1].outcome == "failed"


def test_an_endpoint_that_the_engine_holds_since_a_full_disk_is_dropped(place: Place) -> None:
    stopped = [name for name, c in place.host.engine.observed.items() if not c.alive and c.role == "web"]
    place.host.held = dict.fromkeys(stopped, "shop-local_default")
    assert stopped
    outcome = commands.rollback(place.at)
    assert (outcome.release, place.serving(), place.running(), place.host.held) == ("r1", "r1", whole("r1"), {})


def test_so_is_one_of_the_edge(place: Place) -> None:
    place.host.engine.change("shop-local-edge-1", state="exited", health="")
    place.host.held = {"shop-local-edge-1": "shop-local_default"}
    place.deploy("r3")
    assert (place.serving(), place.host.held) == ("r3", {})


def test_an_endpoint_that_cannot_be_dropped_ends_the_deploy(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried once: the engine may say the same for ever."""
    [idle] = [name for name, c in place.host.engine.observed.items() if not c.alive and c.role == "web"]
    held, tried = {idle: "shop-local_default"}, place.host.try_run

    def again(command: Command, **more: Any) -> Result:
        place.host.held = dict(held)
        return tried(command, **more)

    monkeypatch.setattr(place.host, "try_run", again)
    with pytest.raises(CommandFailed, match="already exists in network") as raised:
        place.deploy("r3")
    assert place.serving() == "r2"
    assert "systemctl restart docker drops it; inv deploy" in raised.value.then
    assert len([command for command in place.host.executed if "--force shop-local_default" in command]) == 1


def test_a_secret_that_the_app_prints_is_hidden_in_error_journal_and_ledger(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a failed container or migration said goes to files on hosts, and to chats."""
    output = CommandFailed("compose run", 1, "upgrade head: hunter2hunter2", "here")
    faults: dict[str, tuple[str, BaseException | None]] = {
        "AwaitHealthy": ("last words of", None),
        "Migrate": ("upgrade head", output),
    }
    for step, (named, fault) in faults.items():
        place.state.keep(replace(bundled("r3"), env=secrets.render({"PASSWORD": "hunter2hunter2"})))
        monkeypatch.setattr(place.host.engine, "logs", lambda name: f"last words of {name}: hunter2hunter2")
        place.host.fail_at(STEPS.index(step), partial(lambda fault: fault, fault))
        with pytest.raises(OpsError, match=named) as raised:
            applied(kept_fleet(place.at, "r3"), "deploy")
        assert "***" in raised.value.what
        assert "hunter2" not in raised.value.what + json.dumps(place.journal()), step


def test_a_broken_invariant_of_a_fake_is_no_failed_deploy(place: Place) -> None:
    """Two schedulers at once would else be undone as any fault of a release, and every test stay green."""
    place.host.engine.change("shop-local-redis-1", role="scheduler")
    with pytest.raises(Broken):
        place.deploy("r3")
