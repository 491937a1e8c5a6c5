"""Grafana's files, rendered from the panels: a data source and dashboards in the form that is provisioned. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from deploy.monitoring.panels import Dashboard, Panel

FOLDER = "grafana"
MOUNTED = "/etc/monitoring/grafana"
PROMETHEUS = {"type": "prometheus", "uid": "prometheus"}
UNITS = {"": "short", "/s": "reqps", "share": "percentunit", "bytes": "bytes", "s": "s", "bool": "bool_yes_no"}
WIDTH, HEIGHT, ROW = 12, 8, 24  # of panels and of a row, in Grafana's grid
# its value is when the release came into service, in milliseconds
DEPLOYS = "max by (release) (ops_last_deploy_timestamp_seconds) * 1000"


def files(shown: Sequence[Dashboard], environment: str) -> dict[str, str]:
    """Render every file by its path below the stack's folder."""
    documents: Mapping[str, Any] = {
        "provisioning/datasources/prometheus.yml": source("Prometheus", "prometheus", 9090),
        "provisioning/datasources/loki.yml": source("Loki", "loki", 3100),
        "provisioning/dashboards/files.yml": provider(environment),
        **{f"dashboards/{one.name}.json": dashboard(one) for one in shown},
    }
    # JSON is YAML, too
    return {f"{FOLDER}/{path}": json.dumps(document, indent=1) + "\n" for path, document in documents.items()}


def source(name: str, kind: str, port: int) -> dict[str, Any]:
    """Name a source of data; dashboards ask Prometheus."""
    own = {"name": name, "type": kind, "uid": kind, "access": "proxy", "url": f"http://{kind}:{port}"}
    return {"apiVersion": 1, "datasources": [{**own, "isDefault": kind == "prometheus", "editable": False}]}


def provider(environment: str) -> dict[str, Any]:
    """Say where the dashboards' files are."""
    options = {"path": f"{MOUNTED}/dashboards"}
    own = {"name": environment, "folder": environment, "type": "file", "allowUiUpdates": False, "options": options}
    return {"apiVersion": 1, "providers": [own]}


def dashboard(own: Dashboard) -> dict[str, Any]:
    """Render a dashboard: the bare object, as it is provisioned; one that is imported has an envelope and inputs."""
    return {
        "uid": own.name,
        "title": own.title,
        "schemaVersion": 39,
        "editable": False,
        "refresh": "10s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "tags": ["bookreader-ops"],
        "annotations": {"list": [annotation()]},
        "panels": [panel(number, one) for number, one in enumerate(own.panels)],
    }


def annotation() -> dict[str, Any]:
    """Mark when a release came into service."""
    return {
        "name": "Deploys",
        "datasource": PROMETHEUS,
        "enable": True,
        "iconColor": "purple",
        "expr": DEPLOYS,
        "useValueForTime": True,
        "titleFormat": "{{release}}",
    }


def panel(number: int, own: Panel) -> dict[str, Any]:
    """Render a panel, two in a row."""
    at = number * WIDTH
    place = {"x": at % ROW, "y": at // ROW * HEIGHT, "w": WIDTH, "h": HEIGHT}
    target = {"refId": "A", "datasource": PROMETHEUS, "expr": own.query, "legendFormat": own.series, "range": True}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": own.title,
        "datasource": PROMETHEUS,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": UNITS[own.unit], "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [target],
    }
