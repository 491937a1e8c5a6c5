"""The dashboards' panels: what is asked, and when they have data."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.config.settings import ROOT
from deploy.core import yaml
from deploy.monitoring import images, panels, stack
from deploy.monitoring.panels import Panel
from tests.support import monitored

TWO = (Panel("Requests", "rate(a[1m])", "all"), Panel("Errors", "b / c or 0 * c", "5xx"))


def counted(*kinds: str) -> Any:
    """What Prometheus answers the question: a number for each kind of value that a panel has."""
    return {"result": [{"metric": {"panel": kind}, "value": [0, "1"]} for kind in kinds]}


@pytest.mark.parametrize(
    ("answer", "result", "evidence"),
    [
        (None, "UNKNOWN", "Prometheus does not answer"),
        (counted("0 finite", "1 finite"), "PASS", "2 of 2 panels"),
        (counted("0 finite"), "FAIL", "of 2 panels: Errors: no data"),
        (counted("0 finite", "1 odd"), "FAIL", "of 2 panels: Errors: values that are no finite numbers"),
        (counted("0 finite", "1 finite", "1 odd"), "FAIL", "of 2 panels: Errors: values that are no finite numbers"),
        (counted(), "FAIL", "of 2 panels: Requests: no data; Errors: no data"),
    ],
    ids=["no answer", "all", "one empty", "one not finite", "one in part", "none"],
)
def test_dashboards_show_data_when_every_panel_has_finite_values_alone(answer: Any, result: str, evidence: str) -> None:
    check = panels.judge("dashboards show data", TWO, answer, "inv monitor.up")
    assert (check.result, check.evidence, bool(check.then)) == (result, evidence, result != "PASS")


def test_all_panels_are_asked_for_at_once() -> None:
    asked = panels.question(TWO)
    assert asked.count("label_replace(count((") == 4
    assert 'label_replace(count((b / c or 0 * c) * 0 != 0), "panel", "1 odd", "", "")' in asked


def test_a_host_has_the_panels_for_what_it_runs() -> None:
    everywhere = {panel.needs for panel in panels.panels_of(panels.every())}
    assert everywhere == {"", "edge", "nginx", "postgres", "redis", "tasks", "backups"}
    bare = panels.dashboards(())
    assert [one.name for one in bare] == ["overview", "app", "deploys"]
    assert {panel.needs for panel in panels.panels_of(bare)} == {""}
    assert panels.dashboards(everywhere) == panels.every()


def test_no_two_panels_have_one_title() -> None:
    titles = [panel.title for panel in panels.panels_of(panels.every())]
    assert len(titles) == len(set(titles))
    assert {panel.unit for panel in panels.panels_of(panels.every())} <= {"", "/s", "share", "bytes", "s", "bool"}


# what a host surely has on which a file of rules is loaded; a panel of the edge has the public address, too
SURELY = {"slo": {"edge"}, "public": {"edge"}, "certificates": {"edge"}}
LINKED = [(name, rule) for name, rules in monitored.RULES.items() for rule in rules if "alert" in rule]


@pytest.mark.parametrize(("name", "rule"), LINKED, ids=[rule["alert"] for _, rule in LINKED])
def test_an_alert_leads_to_a_panel_that_its_host_has(name: str, rule: dict[str, Any]) -> None:
    shown = panels.dashboards({name} | SURELY.get(name, set()))
    titles = {f"{one.name}: {panel.title}" for one in shown for panel in one.panels}
    assert rule["annotations"]["dashboard"] in titles


def provisioned(*services: Any) -> dict[str, Any]:
    """Every file of Grafana's that `inv monitor.up` writes where images are pulled."""
    pulled = images.Images({**monitored.IMAGES.references, "grafana": "grafana/grafana:1"}, {
        **monitored.IMAGES.entrypoints, "grafana": ""
    })  # fmt: skip
    own = stack.stack_of(monitored.run(*services), "")
    return stack.files(own, pulled)


def test_grafana_gets_the_same_panels_in_the_form_that_is_provisioned() -> None:
    files = {path: text for path, text in provisioned(monitored.service("edge", "edge")).items() if "grafana" in path}
    folder = "monitoring/config/grafana"
    shown = {path.rpartition("/")[2]: json.loads(text) for path, text in files.items() if path.endswith(".json")}
    assert set(shown) == {"overview.json", "app.json", "data.json", "deploys.json"}
    (source,) = json.loads(files[f"{folder}/provisioning/datasources/prometheus.yml"])["datasources"]
    (provider,) = json.loads(files[f"{folder}/provisioning/dashboards/files.yml"])["providers"]
    assert provider["options"]["path"] == "/etc/monitoring/grafana/dashboards"
    proven = {panel.query for panel in panels.panels_of(panels.every())}
    for name, own in shown.items():
        assert {"uid", "title", "panels"} <= set(own), f"{name} has an envelope"
        assert "__inputs" not in own, f"{name} waits for somebody to fill in its inputs"
        for panel in own["panels"]:
            targets = panel["targets"]
            assert {one["expr"] for one in targets} <= proven
            assert {one["datasource"]["uid"] for one in (panel, *targets)} == {source["uid"]}
        places = [(one["gridPos"]["x"], one["gridPos"]["y"]) for one in own["panels"]]
        assert len(set(places)) == len(places) == len({one["id"] for one in own["panels"]})


def test_grafana_is_there_where_its_image_is_pulled_and_its_port_is_the_hosts_own() -> None:
    pulled = provisioned()
    own = yaml.load(pulled[stack.FILE])["services"]["grafana"]
    assert own["ports"] == ["127.0.0.1:3000:3000"]
    assert (own["read_only"], own["cap_drop"], own["mem_limit"]) == (True, ["ALL"], "256m")
    assert "password" not in str(own).lower()
    assert "grafana:3000" in pulled["monitoring/config/prometheus.yml"], "it is watched"
    without = monitored.rendered()
    assert not [path for path, text in without.items() if "grafana" in path + text]
    assert "grafana" in (ROOT / images.FILE).read_text()
