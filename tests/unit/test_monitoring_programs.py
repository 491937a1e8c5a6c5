"""What the programs of the monitoring stack read on a host, count, and send to people."""

from __future__ import annotations

import json
import math
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from deploy.config import secrets
from deploy.core import yaml
from deploy.incidents.dora import Commit
from deploy.monitoring import stack
from monitoring.programs import collector, dora, edge_log, engine, exposition, receiver, records, words
from tests.support.monitored import container, group, rendered
from tests.unit import test_metrics


def values(*found: dict[str, Any], desired: dict[tuple[str, str], int]) -> dict[tuple[str, str], float]:
    return {(name, labels["service"]): value for name, labels, value in collector.measured(found, desired)}


def test_a_service_that_has_no_container_any_more_is_still_missed() -> None:
    measured = values(desired={("backend", "web"): 2})
    assert measured["ops_service_expected", "backend"] == 2
    assert measured["ops_service_running", "backend"] == 0


def test_the_old_colour_that_is_stopped_and_kept_is_no_loss() -> None:
    old, new = container("backend", status="exited"), container("backend", health="starting")
    measured = values(old, new, desired={("backend", "web"): 1})
    assert measured["ops_service_running", "backend"] == 1
    assert measured["ops_service_unhealthy", "backend"] == 0


def test_unhealthy_and_killed_for_memory() -> None:
    measured = values(container("a", health="unhealthy", OOMKilled=True), desired={("a", "web"): 1})
    assert measured["ops_service_unhealthy", "a"] == 1
    assert measured["ops_container_out_of_memory", "a"] == 1
    assert measured["ops_container_restarts", "a"] == 2
    assert values(container("a", "job", "exited"), desired={}) == {}, "a job ends"


def test_what_should_run_is_what_the_ledger_calls_in_service_as_it_was_scaled() -> None:
    ledger = [{"release": "r1", "outcome": "in service"}, {"release": "r2", "outcome": "failed"}]
    assert records.in_service(ledger)["release"] == "r1"
    services = [{"name": "w", "deploy": {"role": "worker"}, "replicas": 1}, {"name": "j", "deploy": {"role": "job"}}]
    assert records.expected({"services": services}, {"w": 3}) == {("w", "worker"): 3}


@pytest.mark.parametrize(
    ("journal", "down"),
    [
        ([{"command": "down", "state": "done"}], True),
        ([{"command": "down", "state": "done"}, {"command": "deploy", "state": "begin"}], False),
        ([{"command": "down", "state": "done"}, {"step": "x"}], True),
        ([], False),
    ],
)
def test_nobody_misses_what_was_taken_down(journal: list[dict[str, Any]], down: bool) -> None:
    assert records.is_down(journal) is down


DOWN = {"command": "down", "state": "done", "time": "2026-11-30T10:00:00Z"}
TAKING = {"step": "TakeDown", "state": "begin", "time": "2026-11-30T10:00:00Z"}
DEPLOYING = {"command": "deploy", "state": "begin", "time": "2026-11-30T10:00:00Z"}
TEN = 1796032800.0


@pytest.mark.parametrize(
    ("journal", "seconds", "down"),
    [
        ([TAKING], 60, True),
        ([TAKING], 1300, False),  # it was interrupted
        ([TAKING, DOWN, {"command": "prune", "state": "done"}], 1300, True),
        ([TAKING, DOWN, DEPLOYING], 60, True),
        ([TAKING, DOWN, DEPLOYING], 1300, False),  # it was interrupted, or hangs
        ([TAKING, DOWN, DEPLOYING, {"command": "deploy", "state": "done"}], 60, False),
        ([{"command": "deploy", "state": "done"}, DEPLOYING], 60, False),
    ],
)
def test_nobody_misses_what_is_being_taken_down_or_deployed_after_that_for_a_while(
    journal: list[dict[str, Any]], seconds: float, down: bool
) -> None:
    assert records.is_down(journal, TEN + seconds) is down


def test_rules_learn_that_the_environment_is_down_and_that_the_maintenance_page_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector, "containers", lambda _: [])
    own = collector.Collector("shop-local", tmp_path)
    assert "\nops_environment_down{} 0\n" in own.metrics()
    assert "\nops_maintenance{} 0\n" in own.metrics()
    (tmp_path / "journal.jsonl").write_text('{"command": "down", "state": "done"}\n')
    (tmp_path / "edge/7").mkdir(parents=True)
    (tmp_path / "edge/7/route.json").write_text('{"maintenance": true}')
    (tmp_path / "edge/proven").symlink_to("7")
    assert "\nops_environment_down{} 1\n" in own.metrics()
    assert "\nops_maintenance{} 1\n" in own.metrics()


def test_deploys_that_failed_or_did_not_end() -> None:
    served = {"release": "r1", "outcome": "in service", "started": "2026-11-30T10:00:00Z", "seconds": 7.5}
    ledger: list[dict[str, Any]] = [served, {"outcome": "failed"}]
    begun = [{"command": "deploy", "state": "begin"}]
    measured = {name: value for name, _, value in records.deployed(ledger, begun)}
    assert measured == {
        "ops_last_deploy_timestamp_seconds": 1796032800.0, "ops_last_deploy_duration_seconds": 7.5,
        "ops_last_deploy_failed": True, "ops_deploy_unfinished": True,
    }  # fmt: skip
    text = exposition.rendered(
        records.deployed(ledger, [*begun, {"command": "deploy", "state": "done"}]), collector.METRICS
    )
    assert 'ops_last_deploy_timestamp_seconds{release="r1"} 1796032800\n' in text
    assert "ops_deploy_unfinished{} 0\n" in text


def test_deploys_of_the_last_30_days_are_counted_by_outcome() -> None:
    old, new = "2026-10-30T10:00:00Z", "2026-11-30T09:00:00Z"
    ledger = [
        {"command": "deploy", "outcome": "in service", "started": old},
        {"command": "deploy", "outcome": "in service", "started": new},
        {"command": "deploy", "outcome": "failed", "started": new},
        {"command": "migrate", "outcome": "in service", "started": new},
    ]
    counted = {(labels["command"], labels["outcome"]): n for _, labels, n in records.counted(ledger, TEN)}
    assert counted == {("deploy", "failed"): 1, ("deploy", "in service"): 1, ("rollback", "in service"): 0}


def test_the_four_keys_are_those_of_inv_metrics() -> None:
    """Where each deploy has one commit: a failed one after its switch, an aborted one, one that was rolled back."""
    lines = [test_metrics.OLD]
    for number, outcome in enumerate(("in service", "failed", "in service", "aborted", "failed", "in service")):
        name, ago = f"{number:012x}", (20 - number) * test_metrics.DAY
        early = (test_metrics.NOW - ago - timedelta(hours=number + 1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        lines.append(test_metrics.entry(name, ago, outcome=outcome, revision=name, commit_time=early))
    lines.append(test_metrics.entry("a0", 2 * test_metrics.DAY, command="rollback"))
    switched = [test_metrics.switch(f"{n:012x}", (20 - n) * test_metrics.DAY - timedelta(seconds=30)) for n in (1, 3)]
    commits = {line.revision: Commit(int(datetime.fromisoformat(line.commit_time).timestamp())) for line in lines}
    journal = [
        {"step": "Switch", "state": "done", "target": one.release, "time": str(one.time.isoformat())}
        for one in switched
    ]
    for read, output in ((journal, switched), ([], None)):
        expected = [one.value for one in test_metrics.keys(*lines, switches=output, commits=commits).values()]
        found = dora.keys([line.model_dump() for line in lines], read, test_metrics.NOW.timestamp())
        assert [round(value, 4) for _, _, value in found] == [pytest.approx(one, abs=0.01) for one in expected]
    assert list(dora.keys([], [], 0.0)) == []


def test_damaged_records_are_read_as_far_as_they_go(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").write_text('{"release": "r1"}\n{"rele\n[1]\n')
    assert records.lines_of(tmp_path / "ledger.jsonl") == [{"release": "r1"}]
    assert records.lines_of(tmp_path / "none") == []
    assert records.document(tmp_path / "ledger.jsonl") == {}


def logged(*lines: str) -> bytes:
    """What the engine answers for a log."""
    parts = [f"2026-11-30T10:00:{number:02}.5Z {line}\n".encode() for number, line in enumerate(lines)]
    return b"".join(b"\x01\0\0\0" + len(part).to_bytes(4, "big") + part for part in parts)


def test_the_edges_answers_are_counted_once_and_its_maintenance_page_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = '{"status":503,"page":"maintenance"}'
    slow = '{"status":502,"page":"","upstream_seconds":"0.3"}'
    socket = '{"status":101,"upstream_seconds":"900"}'
    own = '{"status":200,"page":"","upstream_seconds":""}'
    stream = logged(own, slow, page, socket, "not JSON", "[1]")
    monkeypatch.setattr(edge_log, "ask", lambda _: stream)
    log = edge_log.EdgeLog()
    log.read("edge")
    log.read("edge")
    assert log.counts == {"1xx": 1, "2xx": 1, "5xx": 1}
    assert log.within == dict.fromkeys((0.5, 1.0, 2.5, 5.0, math.inf), 1), "of what the app was asked"


def test_a_busy_edges_log_is_split_in_a_time_that_grows_with_its_length_alone() -> None:
    stream, begun = logged('{"status":200,"request":"' + "x" * 250 + '"}') * 50_000, time.process_time()
    assert len(list(engine.printed(stream))) == 50_000
    assert time.process_time() - begun < 1


def test_no_more_than_a_minute_of_the_edges_log_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    def ask(path: str) -> bytes:
        asked.append(path)
        return b""

    monkeypatch.setattr(edge_log, "ask", ask)
    log = edge_log.EdgeLog()
    log.since = time.time() - 3600
    log.read("edge")
    assert float(asked[0].rpartition("since=")[2]) == pytest.approx(time.time() - 60, abs=5)


def test_an_edge_whose_log_cannot_be_read_is_not_counted_as_one_without_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> bytes:
        raise OSError("configured logging driver does not support reading")

    own, edge = collector.Collector("shop-local", Path("/state")), container("edge", "edge", Running=True) | {"Id": "e"}
    monkeypatch.setattr(edge_log, "ask", lambda _: b"")
    assert {value for _, _, value in own.requests([edge], ["edge"])} == {0}
    monkeypatch.setattr(edge_log, "ask", broken)
    assert list(own.requests([edge], ["edge"])) == []


def test_the_last_words_of_a_service_hold_no_secret() -> None:
    lines = ["starting", "ERROR no such table", "listening", "postgres://u:pa55w0rd@db refused hunter2222"]
    assert words.last_words(lines) == [lines[1], lines[3]]
    assert words.last_words(["a", "b"]) == ["a", "b"]
    assert words.masked(lines[3], ["hunter2222"]) == "postgres://u:***@db refused ***"


AWKWARD = {
    "QUOTED": 'pa"ss$wo$$rd\\123',
    "KEY": "-----BEGIN KEY-----\nAAAABBBBCCCCDDDD\r\n-----END KEY-----\n",
    "ADDRESS": "p@ss/wörd 1",
    "PLAIN": "plainsecret",
    "SHORT": "on",
}


def test_secrets_are_read_and_hidden_in_every_form_that_the_toolkit_hides(tmp_path: Path) -> None:
    (tmp_path / "env").write_text(secrets.render(AWKWARD))
    hidden, plain = words.secrets_of(tmp_path / "env"), [value for value in AWKWARD.values() if len(value) > 5]
    for form in (form for value in plain for part in (value, *value.splitlines()) for form in (
        part, repr(part), json.dumps(part), quote(part, safe="")
    )):  # fmt: skip
        line = f"login on host failed: {form} error"
        assert words.masked(line, hidden) == secrets.masked(line, AWKWARD.values()), form
        assert "***" in words.masked(line, hidden), form


PROD = receiver.Links("prod")


def test_a_message_says_service_host_release_last_deploy_and_next_command() -> None:
    facts = {"release": "r2", "last deploy": "deploy of r2 at 10:00 by ann: in service", "lines": ["error: x"]}
    title, text, kind = receiver.message(group(), "shop-prod", "h1", facts, PROD)
    assert (title, kind) == ("shop-prod: app does not run", "failure")
    assert text.splitlines() == [
        "what: app does not run", "meaning: none runs", "next: inv status --env=prod",
        "runbook: inv incident.playbook service-down --env=prod",
        "dashboard: app: Containers that run, inv monitor.page --env=prod", "service: app", "host: h1",
        "release: r2", "last deploy: deploy of r2 at 10:00 by ann: in service", "last lines: ", "  error: x",
        "since: 2026-11-30 10:00:00",
    ]  # fmt: skip
    title, text, kind = receiver.message(group("resolved"), "shop-prod", "h1", {}, PROD)
    assert (title, kind) == ("shop-prod: RESOLVED: app does not run", "success")
    assert "next" not in text


def test_a_message_links_pages_and_dashboards_where_the_settings_have_their_addresses() -> None:
    links = receiver.Links("prod", "https://grafana.test/", "https://code.test/docs/playbooks")
    lines = receiver.message(group(), "shop-prod", "h1", {}, links)[1].splitlines()
    page = "https://code.test/docs/playbooks/service-down.md"
    assert f"runbook: inv incident.playbook service-down --env=prod, {page}" in lines
    assert "dashboard: app: Containers that run, https://grafana.test/d/app" in lines
    own = links.runbook(f"{receiver.RUNBOOK} --env=prod")
    assert own.endswith(", https://code.test/docs/playbooks/nobody-watches.md")
    addresses = {"grafana_url": "https://grafana.test/", "playbooks_url": "https://code.test/"}
    text = rendered(**addresses)[stack.FILE]
    given = yaml.load(text)["services"]["receiver"]["environment"]
    assert (given["GRAFANA_URL"], given["PLAYBOOKS_URL"]) == (*addresses.values(),)


def test_people_are_notified_once_that_nobody_watches_and_once_that_somebody_does_again() -> None:
    now = [0.0]
    life = receiver.Life(lambda: now[0])
    assert life.change() == ""
    now[0] = receiver.PATIENCE + 1
    assert "nobody watches" in life.change()
    assert life.change() == ""
    life.come()
    assert "RESOLVED" in life.change()
