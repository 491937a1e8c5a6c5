"""Loki and Alloy, which were never run here: what their configuration says, and what is read of an answer."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from deploy.config.settings import ROOT
from deploy.core import yaml
from deploy.monitoring import images, loki, stack
from monitoring.programs import collector, engine
from tests.support import alloy, monitored

CONFIG = (ROOT / "monitoring/config.alloy").read_text()
# every component and block with its arguments, from the reference of Alloy 1.10
KNOWN = {
    "discovery.http": {"url", "refresh_interval"},
    "loki.source.file": {"targets", "forward_to"},
    "loki.process": {"forward_to"},
    "loki.write": {"external_labels"},
    "stage.docker": set[str](),
    "stage.label_drop": {"values"},
    "endpoint": {"url", "max_backoff_period", "max_backoff_retries"},
}
EXPORTED = {"discovery.http": "targets", "loki.process": "receiver", "loki.write": "receiver"}


def made(*, pulled: bool = True) -> images.Images:
    """The images of the stack, with the public ones or without."""
    more = {"grafana": "grafana/grafana:1", "loki": "grafana/loki:1", "alloy": "grafana/alloy:1"} if pulled else {}
    entrypoints = {**monitored.IMAGES.entrypoints, **dict.fromkeys(more, "")}
    return images.Images({**monitored.IMAGES.references, **more}, entrypoints)


def rendered(*, pulled: bool = True, **monitor: Any) -> dict[str, str]:
    """Every file that `inv monitor.up` writes."""
    return stack.files(stack.stack_of(monitored.run(**monitor), ""), made(pulled=pulled))


def blocks(own: alloy.Block) -> list[alloy.Block]:
    """A block's blocks, and theirs."""
    return [inner for one in own.blocks for inner in (one, *blocks(one))]


def test_what_alloy_reads_is_of_its_language_and_every_name_in_it_is_known() -> None:
    document = alloy.parse(CONFIG)
    for own in blocks(document):
        assert own.name in KNOWN
        assert set(own.values) <= KNOWN[own.name], own.name
    exported = {f"{own.name}.{own.label}.{EXPORTED.get(own.name)}" for own in document.blocks}
    assert {*alloy.references(document)} - {"sys.env"} <= exported


@pytest.mark.parametrize(
    "broken",
    [
        CONFIG.replace("stage.docker {}", "stage.docker {"),
        CONFIG.replace('["filename"]', '["filename"'),
        CONFIG.replace('sys.env("ENV"),', "sys.env(ENV"),
        CONFIG.replace("url   ", "url : "),
        CONFIG.replace('"http://loki', "'http://loki"),
        CONFIG.replace("max_backoff_retries = 0", "max_backoff_retries 0"),
    ],
)
def test_a_mistake_in_it_would_be_seen(broken: str) -> None:
    assert broken != CONFIG
    with pytest.raises(ValueError, match=r"where|nothing of this language"):
        alloy.parse(broken)


def test_alloy_asks_the_collector_for_files_and_sends_lines_to_loki_until_it_takes_them() -> None:
    found = {own.name: own.values for own in blocks(alloy.parse(CONFIG))}
    assert found["discovery.http"]["url"] == f"http://collector:{collector.PORT}/logs"
    assert found["endpoint"]["url"] == "http://loki:3100/loki/api/v1/push"
    assert found["endpoint"]["max_backoff_retries"] == 0, "for ever"


def test_alloy_has_no_socket_and_loki_is_reached_from_this_host_alone() -> None:
    services = yaml.load(rendered(loki_port=3111)[stack.FILE])["services"]
    own = services["alloy"]
    assert (own["cap_add"], own["networks"], own["environment"]["ENV"]) == (["DAC_READ_SEARCH"], ["inside"], "local")
    assert [one for one in own["volumes"] if one.endswith(":ro")] == [
        "/state/monitoring/config:/etc/monitoring:ro", "/var/lib/docker/containers:/var/lib/docker/containers:ro"
    ]  # fmt: skip
    assert services["loki"]["ports"] == ["127.0.0.1:3111:3100"]
    for name in ("alloy", "loki"):
        assert services[name]["read_only"] is True
        assert "docker.sock" not in str(services[name])


def test_grafana_asks_loki_and_dashboards_prometheus() -> None:
    folder = "monitoring/config/grafana/provisioning/datasources"
    sources = [json.loads(rendered()[f"{folder}/{name}.yml"])["datasources"] for name in ("prometheus", "loki")]
    assert [(one["uid"], one["url"], one["isDefault"]) for (one,) in sources] == [
        ("prometheus", "http://prometheus:9090", True), ("loki", "http://loki:3100", False)
    ]  # fmt: skip


def test_lines_go_after_the_days_that_metrics_are_kept() -> None:
    document = yaml.load(rendered(keep_days=3)[f"monitoring/config/{loki.FILE.rpartition('/')[2]}"])
    assert document["limits_config"]["retention_period"] == "72h"
    assert document["compactor"]["retention_enabled"] is True
    assert document["compactor"]["delete_request_store"] == "filesystem", "Loki 3 does not start without it"
    (schema,) = document["schema_config"]["configs"]
    assert (schema["store"], schema["schema"], schema["index"]["period"]) == ("tsdb", "v13", "24h")
    assert document["analytics"] == {"reporting_enabled": False}
    places = [document["common"]["path_prefix"], document["compactor"]["working_directory"]]
    places += document["common"]["storage"]["filesystem"].values()
    assert all(place.startswith("/loki") for place in places), "in its volume: the rest cannot be written to"


def test_where_no_image_can_be_pulled_nothing_names_them() -> None:
    there, absent = rendered(), rendered(pulled=False)
    assert loki.FILE in there
    assert "rules/logs.yml" in there["monitoring/config/prometheus.yml"]
    for job in ("loki:3100", "alloy:12345"):
        assert job in there["monitoring/config/prometheus.yml"], "it is watched"
    assert not [path for path, text in absent.items() if re.search("loki|alloy|logs.yml", path + text)]


def inspected(name: str, path: str, status: str = "running") -> dict[str, Any]:
    return {**monitored.container(name, status=status), "LogPath": path}


def test_the_files_of_containers_that_stopped_are_tailed_as_well() -> None:
    """One that is left out would be read from its beginning when it is back."""
    files = engine.log_files([inspected("app", "/d/a.log"), inspected("job", "/d/b.log", "exited"), inspected("x", "")])
    assert files[0] == {
        "targets": ["localhost"],
        "labels": {"__path__": "/d/a.log", "service": "app", "container": "app-1", "colour": ""},
    }
    assert [one["labels"]["__path__"] for one in files] == ["/d/a.log", "/d/b.log"], "of another driver there is none"


def test_an_answer_is_read_in_the_order_of_time_whatever_the_streams() -> None:
    values = [[["2000000001", "b\n"], ["4000000000", "d"]], [["1000000000", "a"], ["3000000000", "c", {}]]]
    body = json.dumps({"data": {"result": [{"stream": {}, "values": own} for own in values]}})
    assert [text for _, text in loki.read(body)] == ["a", "b", "c", "d"]
    assert [loki.written(moment) for moment, _ in loki.read(body)][:2] == [
        "1970-01-01T00:00:01.000000000Z", "1970-01-01T00:00:02.000000001Z"
    ]  # fmt: skip


def test_a_question_names_one_container() -> None:
    asked = parse_qs(urlsplit(loki.question("shop-backend-1", "2026-11-23T12:00:00.000000000Z", 50)).query)
    assert asked["query"] == ['{container="shop-backend-1"}']
    assert (asked["start"], asked["limit"], asked["direction"]) == (
        ["2026-11-23T12:00:00.000000000Z"],
        ["50"],
        ["forward"],
    )
