"""What the monitoring stack is made of, and how its check judges."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.config.sections import Tls
from deploy.config.settings import ROOT
from deploy.core import yaml
from deploy.monitoring import check, images, stack
from deploy.state.store import Bundle
from monitoring.programs import edge_log
from tests.support.monitored import IMAGES, RULES, SECRETS, project, run, service

ALERTS = [rule for own in RULES.values() for rule in own if "alert" in rule]


def test_what_the_release_has_is_watched_and_nothing_that_it_has_not() -> None:
    own = stack.stack_of(run(), "")
    assert [one.name for one in own.exporters] == ["exporter-postgres"]
    assert own.rules == ("services", "host", "self", "postgres")
    own = stack.stack_of(run(service("edge", "edge"), service("backup", "backup"), probe="https://shop.test/"), "")
    assert [one.name for one in own.exporters] == ["exporter-postgres", "exporter-edge", "blackbox"]
    assert own.rules == ("services", "host", "self", "edge", "postgres", "public", "slo", "backups")
    renewed = run(service("certificates", "certificates"))
    acme = renewed.settings.model_copy(update={"tls": Tls(by="acme")})
    assert "certificates" not in stack.stack_of(renewed, "").rules
    assert stack.stack_of(replace(renewed, settings=acme), "").rules[-1] == "certificates"
    jobs = {job.name: [target.address for target in job.targets] for job in own.jobs}
    assert jobs["edge"] == ["http://edge:8080/edge-health"]
    assert jobs["public"] == ["https://shop.test/"]
    assert set(own.rules) <= set(RULES)


def test_tasks_are_watched_where_there_are_workers_and_a_redis() -> None:
    beat, redis = service("beat", "scheduler", sends="shop.tidy"), service("db2", "data", image="redis:7", port=6379)
    own = run(service("worker", "worker"), beat)
    shared = own.bundle.files["shared.yml"].replace("services:\n", "services:\n  db2: {networks: [data]}\n", 1)
    with_redis = own.bundle.release.model_copy(update={"services": (*own.bundle.release.services, redis)})
    watched = stack.stack_of(replace(own, bundle=Bundle(with_redis, {"shared.yml": shared}, SECRETS)), "")
    (tasks,) = [one for one in watched.exporters if one.name == "tasks-db2"]
    assert (tasks.environment, tasks.networks) == ({"REDIS": "db2:6379", "SCHEDULED": "shop.tidy"}, ("live-data",))
    (job,) = [job for job in watched.jobs if job.name == "tasks"]
    assert job.targets == (stack.Target("tasks-db2:9103", {"service": "worker", "broker": "db2"}),)
    assert "tasks" in watched.rules
    assert "tasks" not in stack.stack_of(own, "").rules, "nothing is a broker"


def test_a_database_on_the_hosts_own_network_has_no_exporter() -> None:
    own = stack.stack_of(run(service("redis", "data", port=6379)), "")
    assert [one.name for one in own.exporters] == ["exporter-postgres"]


def test_containers_may_do_little_and_are_reached_from_this_host_alone() -> None:
    document = project(service("edge", "edge"))
    for name, spec in document["services"].items():
        assert spec["read_only"] is True, name
        assert spec["cap_drop"] == ["ALL"], name
        assert spec["mem_limit"], name
        assert spec["logging"]["options"]["max-size"], name
        assert all(port.startswith("127.0.0.1:") for port in spec.get("ports", ())), name
        assert "/var/run/docker.sock" not in str(spec.get("volumes")) or name == "collector"
        assert spec["user"] == ("0:0" if name in ("collector", "node-exporter") else "65534:65534"), name
    assert document["services"]["collector"]["networks"] == ["inside"]
    assert "--storage.tsdb.retention.time=15d" in document["services"]["prometheus"]["command"]
    assert document["networks"]["live-data"] == {"name": "live-data", "external": True}


def test_a_file_system_below_a_folder_that_root_alone_may_enter_is_watched() -> None:
    """As another account the exporter gets no size of it, and no rule misses what was never there."""
    exporter = project()["services"]["node-exporter"]
    assert (exporter["user"], exporter["cap_add"]) == ("0:0", ["DAC_READ_SEARCH"])


def test_no_secret_is_in_a_file_that_others_read_nor_on_a_command_line() -> None:
    own = stack.stack_of(run(), "json://token@people")
    assert not [path for path, text in stack.files(own, IMAGES).items() if "hunter2222" in text or "token" in text]
    private = stack.private(own)
    assert private["monitoring/exporter-postgres.env"] == 'DATA_SOURCE_PASS="hunter2222"\n'
    assert private["monitoring/receiver.env"] == 'HEARTBEAT_URL=""\nNOTIFY_URLS="json://token@people"\n'


def test_a_change_of_any_file_recreates_what_reads_it() -> None:
    def label(urls: str, **monitor: Any) -> Any:
        text = stack.files(stack.stack_of(run(**monitor), urls), IMAGES)[stack.FILE]
        return yaml.load(text)["services"]["prometheus"]["labels"]["bookreader-ops.monitoring.made-of"]

    assert len({label("a"), label("a"), label("b"), label("a", probe="https://shop.test/")}) == 3


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    assert set(rule["annotations"]) == {"summary", "meaning", "runbook", "dashboard", "next"}
    assert rule["labels"]["severity"] in ("critical", "warning", "none")


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_keeps_quiet() -> None:
    fires, quiet = set[str](), set[str]()
    for path in (ROOT / "monitoring/tests").glob("*.yml"):
        for case in yaml.load(path.read_text())["tests"]:
            for one in case["alert_rule_test"]:
                (fires if one.get("exp_alerts") else quiet).add(one["alertname"])
    names = {rule["alert"] for rule in ALERTS}
    assert (fires, quiet) == (names, names - {"Watchdog"}), "Watchdog never keeps quiet"


def test_routes_and_inhibitions_are_of_alerts_that_there_are() -> None:
    named = re.findall(r'alertname=~?"([^"]+)"', (ROOT / "monitoring/alertmanager.yml").read_text())
    assert {alert for one in named for alert in one.split("|")} <= {rule["alert"] for rule in ALERTS}


METRIC = re.compile(r"\b(?:ops|pg|redis|nginx|probe|node|prometheus|alertmanager)_\w+|\bup\b")
# there are none while no container is there, or the address has no certificate; then other alerts fire
NOT_MISSED = {"ops_container_restarts", "ops_container_out_of_memory", "probe_ssl_earliest_cert_expiry"}
# these keep alerts quiet: without them more is sent
NOT_MISSED |= {"ops_environment_down", "ops_maintenance", "ops_service_stopped_by_deploy", "probe_http_status_code"}
NOT_MISSED |= {"ops_certificate_not_after_timestamp_seconds"}
# there is no queue before the first task, and no scheduled task where no service says one
NOT_MISSED |= {"ops_queue_tasks", "ops_scheduled_task_age_seconds"}
MISSED_BY = {"slo": "edge", "logs": "edge"}  # slo is loaded wherever that is; without an edge logs keep quiet


@pytest.mark.parametrize("name", sorted(RULES))
def test_a_metric_that_a_rule_needs_is_missed_when_it_is_gone(name: str) -> None:
    text, other = (
        "\n".join(str(rule["expr"]) for rule in RULES.get(one, ())) for one in (name, MISSED_BY.get(name, ""))
    )
    absent = re.compile(r"absent\((\w+)")
    assert set(METRIC.findall(text)) - NOT_MISSED - {*absent.findall(other)} == {*absent.findall(text)}


def test_objectives_are_of_bounds_that_are_counted() -> None:
    text = "\n".join(str(rule["expr"]) for rule in RULES["slo"])
    assert {float(bound) for bound in re.findall(r'le="([^"]+)"', text)} <= {*edge_log.BOUNDS}


TARGETS = {"activeTargets": [{"labels": {"job": "redis"}, "health": "up"}]}
RULE = {"name": "A", "health": "ok"}


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (None, "UNKNOWN"),
        ({"activeTargets": []}, "UNKNOWN"),
        ({"activeTargets": [{"labels": {"job": "other"}, "health": "up"}]}, "UNKNOWN"),
        ({"activeTargets": [{"labels": {"job": "redis"}, "health": "unknown"}]}, "UNKNOWN"),
        ({"activeTargets": [{"labels": {"job": "redis"}, "health": "down", "lastError": "x"}]}, "FAIL"),
        (TARGETS, "PASS"),
    ],
)
def test_targets_that_cannot_be_seen_are_unknown(answer: Any, result: str) -> None:
    assert check.judge_targets("", {"redis": 1}, answer).result == result


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (None, "UNKNOWN"),
        ({"groups": []}, "UNKNOWN"),
        ({"groups": [{"name": "host", "rules": [{"name": "A", "health": "unknown"}]}]}, "UNKNOWN"),
        ({"groups": [{"name": "host", "rules": [{"name": "A", "health": "err", "lastError": "x"}]}]}, "FAIL"),
        ({"groups": [{"name": "host", "rules": [RULE]}]}, "PASS"),
    ],
)
def test_rules_that_were_not_evaluated_are_unknown(answer: Any, result: str) -> None:
    assert check.judge_rules("", ["host"], answer).result == result


def test_a_service_that_nobody_watches_fails_the_check() -> None:
    def answer(*names: str) -> Any:
        return {"result": [{"metric": {"service": name}} for name in names]}

    assert check.judge_services("", {"a", "b"}, answer("a", "b", "old")).result == "PASS"
    assert check.judge_services("", {"a", "b"}, answer("a")).evidence == "not watched: b"
    assert check.judge_services("", {"a"}, answer()).result == check.judge_services("", {"a"}, None).result == "UNKNOWN"
    assert check.judge_managers("", {"activeAlertmanagers": []}).result == "FAIL"


def test_the_programs_image_is_made_again_only_when_it_is_made_of_something_else() -> None:
    assert images.recipe({"python": "a"}) == images.recipe({"python": "a"}) != images.recipe({"python": "b"})
    command = images.build_command("t:1", {"python": "a"}, Path("/ca"))
    assert "--build-context=python=docker-image://a" in command.argv


def test_documents_name_every_alert() -> None:
    page = (ROOT / "docs/how-to/monitoring.md").read_text()
    assert [rule["alert"] for rule in ALERTS if f"`{rule['alert']}`" not in page] == []
