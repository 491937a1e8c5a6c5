"""DORA's four keys: what counts as a deploy, a failure and its end, and what nobody can know."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.core.model import Record
from deploy.incidents import dora, metrics
from deploy.incidents.dora import Commit, Recorded, Switched
from deploy.state.ledger import Ledger

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def entry(release: str, ago: timedelta, command: str = "deploy", outcome: str = "in service", **more: Any) -> Record:
    """A line of the ledger that began so long ago and took 60 s."""
    started = (NOW - ago).strftime("%Y-%m-%dT%H:%M:%SZ")
    found: dict[str, Any] = {
        "release": release, "revision": f"{release:0<12}", "command": command, "outcome": outcome, "colour": "blue",
        "generation": 2, "schema_revision": None, "who": "a", "started": started, "seconds": 60.0,
        "commit_time": started,
    }  # fmt: skip
    return Record.model_validate({**found, **more})


def keys(*entries: Record, days: float = 30, **more: Any) -> dict[str, dora.Measure]:
    recorded = Recorded(entries, **{"commits": {}, **more})
    return {one.name: one for one in dora.measures(recorded, NOW, days)}


def switch(release: str, ago: timedelta) -> Switched:
    return Switched(release, NOW - ago)


OLD = entry("a0", 40 * DAY)


def test_deploys_a_week_are_those_that_came_into_service() -> None:
    lines = [OLD, *(entry(f"b{n}", n * DAY) for n in range(9, 0, -1)), entry("c", DAY, outcome="failed")]
    rolled_back = entry("b1", timedelta(hours=1), command="rollback")
    measured = keys(*lines, rolled_back)["deployment frequency"]
    assert (measured.value, measured.evidence) == (2.1, "9 in 30 day(s)")


def test_a_young_ledger_is_measured_from_its_first_line() -> None:
    measured = keys(entry("a", 4 * DAY), entry("b", DAY))["deployment frequency"]
    assert (measured.value, measured.evidence) == (3.5, "2 in 4 day(s), as old as the ledger is")


def test_nothing_deployed_in_the_time_is_a_true_zero_and_no_rate() -> None:
    measured = keys(OLD)
    assert measured["deployment frequency"].value == 0
    assert (measured["change failure rate"].value, measured["change failure rate"].unknown) == (None, False)
    assert measured["time to restore"].shown == "none"


A, B, C = (f"{name:0<40}" for name in ("a", "b", "c"))


def test_lead_time_is_of_every_commit_to_the_deploy_that_first_had_it() -> None:
    """Of the first deploy of all the newest commit; a merge brings both sides; a redeploy brings nothing."""
    at = {name: int((NOW - ago).timestamp()) for name, ago in (("a", 9 * DAY), ("b", 3 * DAY), ("c", 5 * DAY))}
    commits = {
        A: Commit(at["a"]),
        B: Commit(at["b"], (C, A)),
        C: Commit(at["c"], (A,)),
        "d" * 40: Commit(at["b"], (B,)),
    }
    measured = keys(entry("a", 8 * DAY), entry("b", 2 * DAY), entry("b", DAY), commits=commits)["lead time"]
    assert measured.value == pytest.approx(DAY.total_seconds() + 60), "of a, b and c: one, one and three days"
    assert measured.evidence == "3 commit(s); the slowest took 3.0 d"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"commits": None, "gitless": "no git checkout"}, "no git checkout"),
        ({"commits": {}}, "1 revision(s) that were deployed are not in this checkout's history: git fetch --all"),
        ({"commits": {A: Commit(int(NOW.timestamp()))}}, "1 commit(s) are younger than their deploy: a clock is wrong"),
    ],
    ids=["no git", "another history", "a wrong clock"],
)
def test_lead_time_that_git_cannot_tell_is_unknown_and_the_rest_is_not(more: Any, words: str) -> None:
    measured = keys(entry("a", DAY), **more)
    assert (measured["lead time"].shown, measured["lead time"].evidence) == ("UNKNOWN", words)
    assert [one.unknown for name, one in measured.items() if name != "lead time"] == [False] * 3


def test_a_rollback_to_another_release_makes_its_deploy_a_failure_and_ends_it() -> None:
    lines = [OLD, entry("b", 3 * DAY), entry("c", 2 * DAY), entry("b", DAY, command="rollback")]
    measured = keys(*lines)
    assert measured["change failure rate"].value == 0.5
    assert measured["time to restore"].value == DAY.total_seconds()


def test_a_repair_of_the_release_that_serves_is_no_failure() -> None:
    """`inv deploy --to` of what serves starts what is missing, and the ledger calls it a rollback."""
    assert keys(OLD, entry("b", 2 * DAY), entry("b", DAY, command="rollback"))["change failure rate"].value == 0


def test_a_failed_deploy_counts_where_traffic_was_switched_to_it_and_not_elsewhere() -> None:
    lines = [OLD, entry("b", 3 * DAY), entry("c", 2 * DAY, outcome="failed"), entry("d", DAY, outcome="failed")]
    measured = keys(*lines, switches=[switch("c", 2 * DAY - timedelta(seconds=50)), switch("d", 9 * DAY)])
    assert (measured["change failure rate"].value, measured["time to restore"].value) == (0.5, 10)


def test_one_that_failed_once_and_serves_now_counts_once_as_each() -> None:
    lines = [OLD, entry("c", 2 * DAY, outcome="failed"), entry("c", DAY)]
    measured = keys(*lines, switches=[switch("c", 2 * DAY - timedelta(seconds=1))])["change failure rate"]
    assert (measured.value, measured.evidence) == (0.5, "1 of 2 deploy(s)")


def test_without_a_journal_every_failed_deploy_counts_and_it_is_reported() -> None:
    measured = keys(OLD, entry("b", 2 * DAY), entry("c", DAY, outcome="failed"), switches=None)["change failure rate"]
    assert (measured.value, "the journal cannot be read" in measured.evidence) == (0.5, True)


def test_a_ledger_in_which_nothing_ever_served_has_no_rate() -> None:
    measured = keys(entry("a", DAY, outcome="failed"), entry("b", DAY / 2, outcome="failed"))
    assert (measured["deployment frequency"].value, measured["change failure rate"].shown) == (0, "none")


def test_when_an_abort_ended_nobody_knows() -> None:
    aborted = entry("c", DAY, outcome="aborted", seconds=0)
    measured = keys(OLD, entry("b", 2 * DAY), aborted, switches=[switch("c", DAY - timedelta(minutes=9))])
    assert (measured["change failure rate"].value, measured["time to restore"].shown) == (0.5, "UNKNOWN")


@pytest.mark.parametrize(
    ("lines", "lost"),
    [
        ((), "there is no ledger"),
        ((None,), "lines of the ledger cannot be read (1 of app1)"),
        ((OLD, entry("b", DAY), None), "lines of the ledger cannot be read"),
        ((OLD, None, entry("b", DAY)), "lines of the ledger cannot be read"),
        ((None, OLD, entry("b", DAY)), ""),
        ((OLD, entry("b", DAY)), ""),
    ],
    ids=["no ledger", "nothing readable", "damaged last", "damaged within", "damaged before the time", "whole"],
)
def test_a_ledger_that_lacks_lines_of_the_time_makes_all_four_unknown(lines: Any, lost: str) -> None:
    output = metrics.why_lost({"app1": Ledger(lines)}, NOW - 30 * DAY)
    assert (output.startswith(lost), bool(output)) == (True, bool(lost))
    measured = keys(*filter(None, lines), lost=output)
    assert {one.shown for one in measured.values()} == {"UNKNOWN"} if lost else "UNKNOWN" not in measured


def test_a_line_that_one_host_has_lost_and_another_has_is_not_lost() -> None:
    damaged, whole = Ledger((OLD, None)), Ledger((OLD, entry("b", DAY)))
    assert metrics.why_lost({"app1": damaged, "app2": whole}, NOW - 30 * DAY) == ""
