"""A command that was interrupted, whichever: what goes on with it, what goes back, and what stays usable meanwhile."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from deploy.config.environment import Environment
from deploy.core.errors import Interrupted
from deploy.core.model import VERSION
from deploy.insight import status
from deploy.rollout import commands as rollout
from deploy.rollout import handlers, lineage, preflight, scale, takedown
from deploy.site import interrupted
from deploy.site.locked import locked
from deploy.state.store import State
from tests.flow.test_days_work import Printed
from tests.flow.test_records import COMMANDS, SERVES, site
from tests.support.place import STEPS, Killed, Place, whole

__all__ = ["site"]  # a fixture


def begin(place: Place, command: str = "restore", **facts: Any) -> None:
    place.state.note(command=command, state="begin", target="b7", details={"at": "2026-01-01"}, **facts)


@pytest.mark.parametrize("verb", ["resume", "abort"])
def test_a_command_goes_on_by_the_handler_that_its_package_has(site: Place, verb: str) -> None:
    called = []

    def note(name: str) -> Callable[[Environment, bool], None]:
        return lambda at, _: called.append(
            (name, at.each(lambda host: State(host, site.state.folder).interruptions()[0].details))
        )

    found = {**handlers.HANDLERS, "restore": interrupted.Handler(note("resume"), note("abort"))}
    begin(site)
    getattr(interrupted, verb)(site.at, found, json=False)
    assert called == [(verb, {"localhost": {"at": "2026-01-01"}})]


@pytest.mark.parametrize("verb", ["resume", "abort"])
def test_a_command_without_a_handler_is_refused_by_its_name(site: Place, verb: str) -> None:
    begin(site)
    with pytest.raises(Interrupted) as raised:
        getattr(interrupted, verb)(site.at, handlers.HANDLERS, json=False)
    since = site.journal()[-1]["time"]
    assert (
        raised.value.what
        == f"restore of b7 was interrupted on localhost ({since}), and this toolkit has no inv {verb} for restore"
    )
    assert "newer checkout" in raised.value.then
    assert "or inv restore again" in raised.value.then


OTHERS: dict[str, Callable[[Place], Any]] = {
    "deploy": lambda place: rollout.deploy(place.at),
    "scale": lambda place: scale.scale(place.at, "worker=2"),
    "down": lambda place: takedown.down(place.at, volumes=False),
}


@pytest.mark.parametrize("command", OTHERS)
def test_while_another_command_is_interrupted_what_it_may_have_half_done_is_left_alone(
    site: Place, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "require_deployable", lambda *_: None)
    begin(site)
    with pytest.raises(Interrupted, match="restore of b7 was interrupted on localhost") as raised:
        OTHERS[command](site)
    assert (raised.value.code, raised.value.where) == (5, "localhost")
    assert "inv resume goes on, inv abort goes back" in raised.value.then
    assert site.running() == whole("r2")


@pytest.mark.parametrize("command", ["status", "history", "logs", "maintenance", "rollback", "rollback --to", "prune"])
def test_an_interruption_stops_nothing_that_helps(site: Place, command: str, capsys: Printed) -> None:
    begin(site)
    COMMANDS[command](site)
    assert site.serving() == SERVES.get(command, "r2")
    assert command != "status" or "restore of b7 was interrupted on localhost" in capsys.readouterr().err
    capsys.readouterr()
    status.show(site.at, json=True)
    assert json.loads(capsys.readouterr().out)["interrupted"]["command"] == "restore"


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("state", ["done", "aborted", "failed"])
def test_a_command_is_over_once_a_line_says_so_and_a_deploy_ends_no_restore(
    site: Place, state: str, again: bool
) -> None:
    begin(site)
    site.deploy("r3")
    assert [str(one) for one in site.state.interruptions()] == ["restore of b7"]
    if again:
        begin(site)
    site.state.note(command="restore", state=state, target="b7")
    assert site.state.interruptions() == ()
    assert rollout.resume(site.at) is None


def test_lines_of_other_commands_say_nothing_about_releases(site: Place) -> None:
    """A backup may run beside a deploy, and its lines between that one's."""
    rollout.rollback(site.at)
    site.deploy("r3")
    for target, end in (("r4", "failed"), ("r5", "")):
        site.state.note(command="deploy", state="begin", target=target, serving="r3")
        site.state.note(step="Watch", state="done", target=target, verdict="probed")
        if end:
            site.state.note(command="deploy", state=end, target=target)

    def shown() -> tuple[object, ...]:
        state = site.state
        which = [lineage.previous_by_journal(state, name) for name in ("r1", "r2", "r3", "r4")]
        return (
            which,
            lineage.is_rolled_back(state),
            lineage.verdict_by_journal(state, "r5"),
            state.last_ended(),
            state.intention(),
            state.once_served(),
        )

    before, path = shown(), site.state.folder / "journal.jsonl"
    other = [json.dumps({"command": "dump", "state": state, "target": "b7"}) for state in ("begin", "done")]
    path.write_text("".join("\n".join([line, *other, ""]) for line in path.read_text().splitlines()))
    assert shown() == before
    assert (before[0], before[2]) == (["r0", "r1", "r1", None], "probed")
    site.state.note(command="rollback", state="done", target="r1")
    site.state.note(command="dump", state="done", target="b7")
    (site.state.folder / "ledger.jsonl").unlink()
    assert lineage.is_rolled_back(site.state)


def test_of_two_interruptions_the_newest_comes_first(site: Place) -> None:
    site.host.kill_at(STEPS.index("Watch"), "begin", Killed)
    with pytest.raises(Killed):
        site.deploy("r3")
    begin(site, started="2126-01-01T00:00:00Z")
    assert [*interrupted.interruptions(site.at)] == ["restore", "release"]
    with pytest.raises(Interrupted, match="no inv resume for restore"):
        interrupted.resume(site.at, handlers.HANDLERS, json=False)
    site.state.note(command="restore", state="done", target="b7")
    interrupted.resume(site.at, handlers.HANDLERS, json=False)
    assert site.serving() == "r3"


def test_steps_belong_to_the_run_of_their_command(site: Place) -> None:
    before = len(site.journal())
    for name in ("r3", "r4"):
        with locked(site.at, "deploy"):
            site.deploy(name)
    lines = site.journal()[before:]
    runs = list(dict.fromkeys(line["run"] for line in lines))
    assert len(runs) == 2
    assert [{line["target"] for line in lines if line["run"] == run} for run in runs] == [{"r3"}, {"r4"}]
    assert all(line["version"] == VERSION for line in lines)
