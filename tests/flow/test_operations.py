"""`inv history` has who scaled, put up the maintenance page or took everything down, when, and with what outcome."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.core.errors import Interrupted, OpsError
from deploy.insight import history
from deploy.rollout import maintenance, scale, takedown
from deploy.site.interrupted import interruptions
from deploy.state import locks
from tests.support.apart import Site
from tests.support.faults import FULL, clear_faults, cut, fail_at, once, when
from tests.support.place import Killed, Place

pytestmark = pytest.mark.usefixtures("no_waiting")
Printed = pytest.CaptureFixture[str]
OPERATIONS: dict[str, Callable[[Any], object]] = {
    "scale backend=2": lambda at: scale.scale(at, "backend=2"),
    "maintenance --on": lambda at: maintenance.turn(at, on=True, off=False),
    "down": lambda at: takedown.down(at, volumes=False),
    "down --volumes": lambda at: takedown.down(at, volumes=True),
}
EVERY = pytest.mark.parametrize("words", OPERATIONS)
FIRST = {
    "scale backend=2": "StartColour", "maintenance --on": "TurnPage", "down": "TakeDown", "down --volumes": "TakeDown",
}  # fmt: skip


@pytest.fixture(autouse=True)
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the journal's clock after that of the ledger, whose lines are a second apart however quickly they came."""
    seconds = itertools.count()
    monkeypatch.setattr("deploy.state.journal.now", lambda: f"2126-01-01T10:00:{next(seconds) % 60:02}Z")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def newest(at: Any, capsys: Printed, number: int = 0) -> dict[str, Any]:
    """Return a line of `inv history --json`."""
    capsys.readouterr()
    history.show(at, limit=9, json=True)
    lines = json.loads(capsys.readouterr().out)
    assert isinstance(lines, list)
    return dict(lines[number])


@EVERY
def test_what_changes_no_release_is_in_the_history(place: Place, capsys: Printed, words: str) -> None:
    OPERATIONS[words](place.at)
    line = newest(place.at, capsys)
    assert (line["command"], line["outcome"], line["release"]) == (words, "done", "r2")
    assert line["who"] == locks.who()
    history.show(place.at, limit=1, json=False)
    assert f" {words} r2 done " in " ".join(capsys.readouterr().out.split())


@EVERY
def test_one_whose_operator_was_killed_was_interrupted(place: Place, capsys: Printed, words: str) -> None:
    """Nobody is there to write down an outcome; and no other command is refused because of it."""

    def dies() -> None:
        raise Killed

    when(place.host, FIRST[words], "begin", dies)
    with pytest.raises(Killed):
        OPERATIONS[words](place.at)
    clear_faults(place.host)
    assert newest(place.at, capsys)["outcome"] == "interrupted"
    assert not interruptions(place.at), "it is typed again; a deploy goes on from what is there"


@pytest.mark.parametrize(
    ("error", "outcome"), [(OpsError("nginx refuses it"), "failed"), (Interrupted("the lock was lost"), "interrupted")]
)
def test_one_that_fails_has_its_outcome_on_every_host(
    site: Site, capsys: Printed, error: OpsError, outcome: str
) -> None:
    fail_at(site.hosts["app3"], "TurnPage", error)
    with pytest.raises(OpsError):
        maintenance.turn(site.at, on=True, off=False)
    line = newest(site.at, capsys)
    assert (line["command"], line["outcome"], line["hosts"]) == ("maintenance --on", outcome, ["app1", "app2", "app3"])


def test_a_host_that_was_lost_meanwhile_does_not_hide_the_outcome(site: Site, capsys: Printed) -> None:
    when(site.hosts["app3"], "TurnPage", "begin", lambda: cut(site.hosts["app3"]))
    with pytest.raises(OpsError):
        maintenance.turn(site.at, on=True, off=False)
    clear_faults(site.hosts["app3"])
    assert newest(site.at, capsys)["outcome"] == "failed", "one line, though app3 has no end of it"


def test_what_goes_on_is_not_called_interrupted(place: Place, capsys: Printed) -> None:
    seen = list[str]()
    when(place.host, "TurnPage", "begin", lambda: seen.append(newest(place.at, capsys)["outcome"]))
    maintenance.turn(place.at, on=True, off=False)
    assert seen == ["running"]


@EVERY
def test_a_journal_that_cannot_be_written_stops_nothing(place: Place, capsys: Printed, words: str) -> None:
    once(place.host, "journal.jsonl", FULL)
    OPERATIONS[words](place.at)
    assert f"inv history lacks this `{words}`" in capsys.readouterr().err


def test_nothing_is_written_down_of_what_was_so_already(place: Place, capsys: Printed) -> None:
    assert maintenance.turn(place.at, on=False, off=True) == "maintenance is off already"
    assert newest(place.at, capsys)["command"] == "deploy"


def test_deploys_and_the_rest_are_in_one_order(place: Place, capsys: Printed) -> None:
    OPERATIONS["scale backend=2"](place.at)
    entry = place.state.ledger()[-1].model_copy(update={"release": "r3", "started": "2126-01-01T11:00:00Z"})
    place.state.record(entry)
    assert [newest(place.at, capsys, number)["command"] for number in (0, 1)] == ["deploy", "scale backend=2"]


def test_lines_of_another_hand_are_passed_over(place: Place, capsys: Printed) -> None:
    OPERATIONS["scale backend=2"](place.at)
    for line in ({"run": "x", "time": "yesterday", "operation": "scale", "state": "begin"}, {"operation": 7}):
        place.host.append(place.state.folder / "journal.jsonl", json.dumps(line))
    assert newest(place.at, capsys)["command"] == "scale backend=2"
