"""After an interruption: resume, abort and unlock, whatever is left of the journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.config.environment import Environment
from deploy.core.errors import Locked, OpsError, Refused
from deploy.core.model import Schema
from deploy.hosts.local import LocalHost
from deploy.insight import status
from deploy.rollout import commands, unlock
from deploy.state import locks
from deploy.state.store import State
from tests.support.place import EVERY_STEP, STEPS, Killed, Place, whole
from tests.support.samples import settings

SOME_STEPS = pytest.mark.parametrize("step", ["Migrate", "StartColour", "Switch", "Watch", "StopColour"])
BOTH_LINES = pytest.mark.parametrize("state", ["begin", "done"])

HOLD = """
import pathlib, sys, time
from deploy.state import locks
from deploy.hosts.local import LocalHost
with locks.held([LocalHost()], pathlib.Path(sys.argv[1]), "deploy"):
    print("held", flush=True)
    time.sleep(60)
"""


def kill(place: Place, number: int, state: str) -> None:
    """Deploy r3 and kill the operator just after one line of the journal; fail when that line was never written."""
    place.host.kill_at(number, state, Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    last = place.journal()[-1]
    assert (last["step"], last["state"]) == (STEPS[number], state)
    assert place.serving() in ("r2", "r3"), "something serves before any command is typed"


@EVERY_STEP
@BOTH_LINES
def test_resume_goes_on(place: Place, number: int, state: str) -> None:
    kill(place, number, state)
    outcome = commands.resume(place.at)
    assert outcome
    assert (outcome.release, place.serving(), place.running()) == ("r3", "r3", whole("r3"))
    assert [entry.release for entry in place.state.ledger() if entry.outcome == "in service"][-2:] == ["r2", "r3"]
    assert place.steps("r3") == []
    assert commands.resume(place.at) is None
    assert commands.abort(place.at) is None


@EVERY_STEP
@BOTH_LINES
def test_abort_goes_back(place: Place, number: int, state: str) -> None:
    kill(place, number, state)
    outcome = commands.abort(place.at)
    assert outcome
    assert (outcome.release, place.serving(), place.running()) == ("r2", "r2", whole("r2"))
    assert (place.state.ledger()[-1].release, place.state.ledger()[-1].outcome) == ("r3", "aborted")
    assert place.steps("r2") == []
    assert commands.abort(place.at) is None
    assert commands.resume(place.at) is None


@EVERY_STEP
@pytest.mark.parametrize("then", ["resume", "abort"])
def test_killed_in_the_middle_of_a_step(place: Place, number: int, then: str) -> None:
    place.host.fail_at(number, Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    outcome = getattr(commands, then)(place.at)
    wanted = "r3" if then == "resume" else "r2"
    assert (outcome.release, place.serving(), place.running()) == (wanted, wanted, whole(wanted))
    assert place.steps(wanted) == []


@EVERY_STEP
def test_a_resume_that_is_killed_can_be_resumed(place: Place, number: int) -> None:
    kill(place, 0, "begin")
    place.host.kill_at(number, "begin", Killed)
    with pytest.raises(Killed):
        commands.resume(place.at)
    assert commands.resume(place.at)
    assert (place.serving(), place.running()) == ("r3", whole("r3"))


@SOME_STEPS
@pytest.mark.parametrize(
    "damage",
    ["", '{"command": "deploy", "state": "begin", "tar', "\x00\x00\x00", "[1, 2]", "17", '{"state": 3}'],
    ids=["last line lost", "cut", "zeros", "a list", "a number", "no command"],
)
@pytest.mark.parametrize("then", ["resume", "abort"])
def test_a_damaged_journal_still_converges(place: Place, step: str, damage: str, then: str) -> None:
    kill(place, STEPS.index(step), "begin")
    path = place.state.folder / "journal.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]) + damage)
    assert getattr(commands, then)(place.at)
    wanted = "r3" if then == "resume" else "r2"
    assert (place.serving(), place.running()) == (wanted, whole(wanted))


@SOME_STEPS
@pytest.mark.parametrize("then", ["resume", "abort"])
@pytest.mark.parametrize("lie", ["done", "nothing at all"])
def test_a_false_journal_leads_to_what_serves(place: Place, step: str, lie: str, then: str) -> None:
    kill(place, STEPS.index(step), "done")
    if lie == "done":
        place.state.note(command="deploy", state="done", target="r3")
    else:
        (place.state.folder / "journal.jsonl").unlink()
    before = place.serving()
    getattr(commands, then)(place.at)
    wanted = before if then == "resume" else "r2"
    assert (place.serving(), place.running()) == (wanted, whole(wanted or ""))
    assert place.steps(str(wanted)) == []


def test_a_journal_from_another_machine_names_a_release_that_is_not_here(place: Place) -> None:
    place.state.note(command="deploy", state="begin", target="r9")
    with pytest.raises(Refused, match="r9") as raised:
        commands.resume(place.at)
    assert "r2" in raised.value.serves
    assert commands.abort(place.at)
    assert (place.serving(), place.running()) == ("r2", whole("r2"))


def test_an_orphaned_migration_is_waited_for(place: Place) -> None:
    kill(place, STEPS.index("Migrate"), "begin")
    place.host.engine.orphans = ("shop-local-migrate",) * 3
    place.host.executed.clear()
    commands.resume(place.at)
    assert place.journal()[[line.get("step") for line in place.journal()].index("AwaitOrphans")]["details"]
    assert not place.host.engine.orphans
    assert place.serving() == "r3"


def unproven(place: Place) -> None:
    """Leave the edge's link on a generation that nobody has seen served, as a kill in the middle of a switch does."""
    kill(place, STEPS.index("Switch"), "begin")
    text = place.state.bundle("r3").files["routes.blue.conf"]
    number = place.host.generation + 1
    folder = place.state.folder / "edge" / "generations" / str(number)
    folder.mkdir()
    (folder / "routes.conf").write_text(text)
    (folder / "route.json").write_text(json.dumps({"generation": number, "colour": "blue", "release": "r9"}))
    place.host.symlink(place.state.folder / "edge" / "current", f"generations/{number}")


@pytest.mark.parametrize("edge", ["running", "has read it", "down"])
@pytest.mark.parametrize("then", ["resume", "abort"])
def test_an_unproven_generation_is_taken_back_first(place: Place, edge: str, then: str) -> None:
    unproven(place)
    proven = place.host.readlink(place.state.folder / "edge" / "proven")
    if edge == "down":
        place.host.engine.change("shop-local-edge-1", state="exited", health="")
    if edge == "has read it":
        place.host.reload()
    assert place.serving() == "r2"
    before = len(place.journal())
    getattr(commands, then)(place.at)
    steps = [line.get("step") for line in place.journal()[before:] if line.get("state") == "begin" and "step" in line]
    assert steps[0] == "RevertEdge"
    wanted = "r3" if then == "resume" else "r2"
    assert (place.serving(), place.running()) == (wanted, whole(wanted))
    link = place.host.readlink(place.state.folder / "edge" / "current")
    assert link == place.host.readlink(place.state.folder / "edge" / "proven")
    assert then == "resume" or link == proven


def test_a_release_that_was_resumed_after_its_switch_and_fails_goes_back_to_the_accepted_one(place: Place) -> None:
    kill(place, STEPS.index("Watch"), "begin")
    place.host.fail_at(STEPS.index("Watch") - STEPS.index("Switch"), lambda: None)
    with pytest.raises(OpsError):
        commands.resume(place.at)
    assert (place.serving(), place.running()) == ("r2", whole("r2"))


def test_abort_after_the_switch_goes_back_to_what_still_runs(place: Place) -> None:
    """A switch is all that it takes: nothing is stopped and started again."""
    before = {c.name for c in place.host.engine.observed.values() if c.alive and c.release == "r2"}
    kill(place, STEPS.index("Watch"), "begin")
    place.host.executed.clear()
    assert commands.abort(place.at)
    assert (place.serving(), place.running()) == ("r2", whole("r2"))
    assert {c.name for c in place.host.engine.observed.values() if c.alive and c.release == "r2"} == before
    assert not [line for line in place.host.executed if " up " in line or "docker start" in line]


def test_abort_refuses_where_the_schema_would_not_fit(place: Place) -> None:
    kill(place, STEPS.index("Drain"), "begin")
    place.state.keep_schema(Schema(revision="r9", serves=("r9",), release="r3"))
    with pytest.raises(Refused, match="r9"):
        commands.abort(place.at)
    assert place.serving() == "r3"
    assert commands.resume(place.at)


def test_abort_of_a_first_deploy_leaves_nothing(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.host.kill_at(place.steps("r1").index("Drain") if "Drain" in place.steps("r1") else 6, "begin", Killed)
    with pytest.raises(Killed):
        place.deploy("r1")
    assert commands.abort(place.at)
    assert (place.serving(), place.running()) == (None, set())


def test_a_rollback_is_resumed_as_a_rollback(place: Place) -> None:
    place.host.kill_at(3, "begin", Killed)
    with pytest.raises(Killed):
        commands.rollback(place.at)
    place.host.executed.clear()
    outcome = commands.resume(place.at)
    assert outcome
    assert (outcome.release, place.state.ledger()[-1].command) == ("r1", "rollback")
    assert not [command for command in place.host.executed if "upgrade" in command]


def test_status_says_what_was_cut_off_and_what_goes_on(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    status.show(place.at, json=False)
    assert "was interrupted" not in capsys.readouterr().err
    kill(place, STEPS.index("Drain"), "begin")
    capsys.readouterr()
    status.show(place.at, json=False)
    assert "deploy of r3 was interrupted on localhost" in capsys.readouterr().err
    status.show(place.at, json=True)
    assert json.loads(capsys.readouterr().out)["interrupted"]["release"] == "r3"
    with locks.held([place.host], place.settings.state_dir, "deploy"):
        status.show(place.at, json=False)
    output = capsys.readouterr().err
    assert ("locked by" in output, "was interrupted" in output) == (True, False)


def test_unlock_ends_only_a_holder_whose_operator_is_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Environment(settings(state=tmp_path), LocalHost(), (LocalHost(),))
    assert "nobody" in unlock.unlock(at, yes=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        State(at.here, tmp_path).note(step="Drain", state="begin")
        with pytest.raises(Locked, match=rf"process {other.pid}\): deploy since .*, step Drain, heard [0-3] s ago"):
            unlock.unlock(at, yes=True)
        other.send_signal(signal.SIGSTOP)
        monkeypatch.setattr(locks, "LATE_SECONDS", 1)
        found = locks.holder(at.here, tmp_path)
        assert found
        os.utime(tmp_path / "lock", (0, 0))
        with pytest.raises(Refused, match="stdin is not a terminal"):
            unlock.unlock(at, yes=False)
        assert "it was ended" in unlock.unlock(at, yes=True)
        with locks.held([LocalHost()], tmp_path, "deploy"):
            pass
        other.kill()
    assert "nobody" in unlock.unlock(at, yes=True)
