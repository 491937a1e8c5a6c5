"""The eight gates: what is PASS, FAIL and UNKNOWN of each, and how old a proof may be."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deploy.backups.points import Evidence
from deploy.core.facts import EdgeFacts, Facts
from deploy.incidents import gates
from deploy.incidents.arrival import Arrival
from deploy.incidents.validate import worst
from deploy.insight.compare import View, compare
from deploy.site.checks import Check
from deploy.state.scans import Scan
from tests.support.samples import release, serving
from tests.unit.test_metrics import DAY, entry

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
WELL = View(serving("r2", "blue"), release("r2", without=("site",)), {"backend": 200}, 200)


def without(*services: str) -> View:
    left = tuple(c for c in WELL.facts.containers if c.service not in services)
    return replace(WELL, facts=replace(WELL.facts, containers=left))


def ago(time: timedelta) -> str:
    return (NOW - time).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("view", "unreachable", "result", "words"),
    [
        (WELL, (), "PASS", "5 services: backend, beat, edge, redis, worker"),
        (without("worker"), (), "FAIL", "a: worker has no container: queued tasks wait"),
        (WELL, ("b",), "UNKNOWN", "b is not reached"),
        (replace(WELL, release=None), (), "UNKNOWN", "the record of the release of a is gone"),
        (View(Facts(edge=EdgeFacts())), (), "FAIL", "nothing is deployed"),
    ],
    ids=["well", "no worker", "unreachable", "no record", "nothing deployed"],
)
def test_services_up(view: View, unreachable: tuple[str, ...], result: str, words: str) -> None:
    gate = gates.services({"a": view}, unreachable)
    assert (gate.result, gate.evidence) == (result, words)


@pytest.mark.parametrize(
    ("more", "result", "words"),
    [
        ({}, "PASS", "1 web service(s) answer 200 through the edge"),
        ({"public": None}, "PASS", "1 web service(s) answer 200 through the edge; the first page was not asked"),
        ({"answers": {"backend": 0}}, "FAIL", "a backend answers nothing"),
        ({"public": 500}, "FAIL", "visitors get errors"),
        ({"answers": {}}, "UNKNOWN", "no web service was asked"),
    ],
    ids=["well", "not at the loopback", "silent", "first page", "nothing asked"],
)
def test_health_green(more: Any, result: str, words: str) -> None:
    views = {"a": replace(WELL, **more)}
    gate = gates.health(views, compare(views))
    assert (gate.result, gate.evidence) == (result, words)


def test_what_was_not_reached_is_neither_green_nor_free_of_vulnerabilities() -> None:
    """The others are; a FAIL of theirs stays one."""
    bad = {"a": replace(WELL, answers={"backend": 0})}
    judged = [
        gates.health({"a": WELL}, compare({"a": WELL}), ("b",)),
        gates.vulnerabilities({"app": scan("PASS")}, NOW, 7, ("b",)),
        gates.health(bad, compare(bad), ("b",)),
        gates.vulnerabilities({"app": scan("FAIL")}, NOW, 7, ("b",)),
    ]
    assert [gate.result for gate in judged] == ["UNKNOWN", "UNKNOWN", "FAIL", "FAIL"]
    assert {gate.evidence for gate in judged[:2]} == {"b is not reached"}


def test_the_maintenance_page_is_not_green() -> None:
    views = {"a": replace(WELL, facts=replace(WELL.facts, edge=replace(WELL.facts.edge, maintenance=True)))}
    assert gates.health(views, compare(views)).result == "FAIL"


def scan(result: str, age: timedelta = DAY, *, database: timedelta | None = None) -> Scan:
    found: dict[str, Any] = {
        "image": "app",
        "digest": "sha256:a",
        "config": "",
        "who": "a",
        "revision": "r",
        "scanner": "t",
    }
    found |= {"database": ago(database)} if database else {}
    return Scan.model_validate({**found, "result": result, "scanned": ago(age), "reasons": ("why",)})


@pytest.mark.parametrize(
    ("images", "result", "words"),
    [
        ({"app": scan("PASS"), "edge": scan("PASS")}, "PASS", "2 image(s), by their digests"),
        ({"app": scan("PASS"), "edge": None}, "UNKNOWN", "not scanned: edge"),
        ({"app": scan("FAIL"), "edge": None}, "FAIL", "app: why"),
        ({"app": scan("UNKNOWN")}, "UNKNOWN", "app: why"),
        (
            {"app": scan("PASS", 8 * DAY)},
            "UNKNOWN",
            f"app was scanned on {ago(8 * DAY)}, 8 days ago; scan.pass_days allows 7",
        ),
        (
            {"app": scan("PASS", database=8 * DAY)},
            "UNKNOWN",
            f"app was scanned with a database that was made on {ago(8 * DAY)}, 8 days ago; scan.pass_days allows 7",
        ),
        (
            {"app": scan("PASS", -DAY)},
            "UNKNOWN",
            f"app was scanned on {ago(-DAY)}, which is yet to come by the clock of this machine",
        ),
        ({}, "UNKNOWN", "no record says which images serve"),
    ],
    ids=["all", "one not", "fails", "unknown", "old", "old database", "to come", "nothing looked at"],
)
def test_vulnerabilities(images: Any, result: str, words: str) -> None:
    gate = gates.vulnerabilities(images, NOW, 7)
    assert (gate.result, gate.evidence) == (result, words)


@pytest.mark.parametrize(
    ("first", "second", "left"),
    [
        (scan("FAIL"), scan("PASS"), scan("FAIL")),
        (scan("FAIL"), None, scan("FAIL")),
        (scan("UNKNOWN"), scan("PASS"), scan("UNKNOWN")),
        (scan("PASS"), None, None),
        (scan("PASS"), scan("PASS", 9 * DAY), scan("PASS", 9 * DAY)),
    ],
    ids=["fails on one", "fails, and not scanned", "unknown on one", "not scanned on one", "old on one"],
)
def test_of_several_hosts_the_worst_scan_of_an_image_counts(first: Any, second: Any, left: Any) -> None:
    for every in ((first, second), (second, first)):
        assert worst(("app", one) for one in every) == {"app": left}


def proof(state: str, age: timedelta) -> Evidence:
    return Evidence.model_validate({"point": "b7", "state": state, "time": ago(age), "detail": "both releases read it"})


@pytest.mark.parametrize(
    ("lines", "more", "result", "words"),
    [
        ([proof("restored", DAY)], {}, "PASS", "point b7: both releases read it"),
        ([proof("restored", DAY)], {"lost": "one line"}, "PASS", "point b7: both releases read it"),
        ([proof("restored", 9 * DAY)], {}, "FAIL", "longer than 8 days ago: point b7: both releases read it"),
        ([proof("restored", 9 * DAY)], {"lost": "one line"}, "UNKNOWN", "one line"),
        ([proof("taken", DAY), proof("read", DAY)], {}, "FAIL", "no recovery point was ever restored"),
        (
            [proof("restored", -DAY)],
            {},
            "UNKNOWN",
            f"a restore is dated {ago(-DAY)}, which is yet to come by the clock of this machine",
        ),
        ([proof("restored", DAY), proof("restored", -DAY)], {}, "PASS", "point b7: both releases read it"),
        ([], {"expected": False}, "FAIL", "no service has the role backup: nothing is saved"),
    ],
    ids=[
        "restored",
        "restored, and damaged lines",
        "long ago",
        "long ago, and damaged lines",
        "never",
        "to come",
        "lately, and one to come",
        "nothing saved",
    ],
)
def test_backup_restored(lines: list[Evidence], more: Any, result: str, words: str) -> None:
    gate = gates.restored(lines, **{"lost": "", "expected": True, "now": NOW, **more})
    assert (gate.result, gate.evidence) == (result, words)


OLD, SECOND = entry("a", 50 * DAY), entry("b", 49 * DAY)


def back(age: timedelta, outcome: str = "in service") -> Any:
    return entry("a", age, command="rollback", outcome=outcome, seconds=4.0)


@pytest.mark.parametrize(
    ("entries", "lost", "result", "words"),
    [
        ([OLD, SECOND, back(DAY)], "", "PASS", "to a in 4.0 s"),
        ([OLD, SECOND, back(DAY)], "damaged", "PASS", "to a in 4.0 s"),
        ([OLD, SECOND, back(40 * DAY)], "", "FAIL", "longer than 30 days ago"),
        ([OLD, SECOND, back(40 * DAY)], "damaged", "UNKNOWN", "damaged"),
        ([OLD, SECOND], "", "FAIL", "no rollback was ever done here"),
        ([OLD, back(DAY)], "", "FAIL", "no rollback was ever done here"),
        ([OLD, SECOND, back(2 * DAY), SECOND, back(DAY, "failed")], "", "FAIL", "the last one was failed: a"),
        (
            [OLD, SECOND, back(-DAY)],
            "",
            "UNKNOWN",
            f"a rollback is dated {ago(-DAY)}, which is yet to come by the clock of this machine",
        ),
    ],
    ids=[
        "lately",
        "lately, and damaged lines",
        "long ago",
        "long ago, and damaged",
        "never",
        "a repair",
        "it failed",
        "to come",
    ],
)
def test_rollback_rehearsed(entries: Any, lost: str, result: str, words: str) -> None:
    gate = gates.rehearsed(entries, lost=lost, now=NOW)
    assert (gate.result, gate.evidence) == (result, words)


def panels(result: Any, evidence: str = "26 of 26 panels") -> Check:
    return Check("dashboards show data", result, evidence, "" if result == "PASS" else "inv monitor.up")


@pytest.mark.parametrize(
    ("checks", "unreachable", "result", "words"),
    [
        ({"a": panels("PASS")}, (), "PASS", "26 of 26 panels"),
        (
            {"a": panels("PASS"), "b": panels("PASS", "9 of 9 panels")},
            (),
            "PASS",
            "a: 26 of 26 panels; b: 9 of 9 panels",
        ),
        ({"a": panels("PASS"), "b": panels("FAIL", "x: no data")}, (), "FAIL", "b: x: no data"),
        ({"a": panels("UNKNOWN", "silent"), "b": panels("FAIL", "x: no data")}, (), "FAIL", "b: x: no data"),
        ({"a": panels("UNKNOWN", "silent")}, (), "UNKNOWN", "silent"),
        ({"a": panels("PASS")}, ("b",), "UNKNOWN", "b is not reached"),
        ({}, (), "UNKNOWN", "nothing is deployed"),
    ],
    ids=["all", "two hosts", "one fails", "fails and silent", "silent", "unreachable", "nothing"],
)
def test_dashboards_show_data(checks: Any, unreachable: tuple[str, ...], result: str, words: str) -> None:
    gate = gates.dashboards(checks, unreachable)
    assert (gate.result, gate.evidence) == (result, words)


@pytest.mark.parametrize(
    ("arrivals", "unreachable", "result", "words"),
    [
        ([Arrival("app", 0.2), Arrival("db", 1.04)], (), "PASS", "2 of 2 containers, within 1.0 s"),
        ([Arrival("app", 0.2), Arrival("db", trouble="late")], (), "FAIL", "db: late"),
        ([Arrival("app", 0.2), Arrival("db", trouble="denied", unsure=True)], (), "UNKNOWN", "db: denied"),
        ([Arrival("app", 0.2)], ("b",), "UNKNOWN", "b is not reached"),
        ([], (), "UNKNOWN", "no container runs"),
    ],
    ids=["all", "one late", "one not written", "unreachable", "none"],
)
def test_logs_arrive(arrivals: Any, unreachable: tuple[str, ...], result: str, words: str) -> None:
    gate = gates.logs(arrivals, unreachable)
    assert (gate.result, gate.evidence) == (result, words)
