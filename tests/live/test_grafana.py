"""The real Grafana, from its public image: it starts on the rendered files and has data for every panel."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from deploy.core.poll import wait_until
from deploy.monitoring import panels
from tests.support.site import Site, make_tiny
from tests.support.watched import watchable

HERE = {"edge", "nginx"}  # what the small app has


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A small site that is watched by the programs' own images."""
    with watchable(make_tiny(tmp_path_factory.mktemp("live"))) as site:
        site.extra |= {"OPS_BUILD__BASES": "public"}
        site.inv("deploy")
        site.inv("monitor.up", code=3)  # nobody is notified
        yield site


def ask(site: Site, path: str) -> Any:
    """Ask Grafana as somebody who has not logged in."""
    status, body = site.get(path, int(site.extra["OPS_MONITOR__GRAFANA_PORT"]))
    assert status == 200, f"{path}: {status} {body}"
    return json.loads(body)


def test_grafana_has_every_dashboard_and_data_for_every_panel(site: Site) -> None:
    assert wait_until(lambda: site.get("/api/health", int(site.extra["OPS_MONITOR__GRAFANA_PORT"]))[0] == 200, 60)
    shown = panels.dashboards(HERE)
    assert {one["uid"] for one in ask(site, "/api/search?type=dash-db")} == {one.name for one in shown}
    for own in shown:
        dashboard = ask(site, f"/api/dashboards/uid/{own.name}")["dashboard"]
        assert [one["title"] for one in dashboard["panels"]] == [panel.title for panel in own.panels]
        for panel in own.panels:
            path = f"/api/datasources/proxy/uid/prometheus/api/v1/query?query={quote(panel.query, safe='')}"
            assert ask(site, path)["data"]["result"], panel.title


def test_nobody_who_looks_can_change_anything(site: Site) -> None:
    port = int(site.extra["OPS_MONITOR__GRAFANA_PORT"])
    assert site.get("/api/admin/settings", port)[0] in (401, 403)
    assert site.get("/api/users", port)[0] in (401, 403)
    checks = site.inv("monitor.check", "--json", code=3).document
    assert {one["result"] for one in checks if one["asked"] != "somebody is notified"} == {"PASS"}, checks
