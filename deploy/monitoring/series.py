"""Ask Prometheus for a time: each panel's series, and the alerts that fire."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from deploy.hosts.host import Host
from deploy.monitoring.chart import Series, Window
from deploy.monitoring.check import ask
from deploy.monitoring.panels import Panel

POINTS = 300  # of a line
SHORTEST = 900.0  # seconds that a page shows, however young monitoring is
OLDEST = "min(prometheus_tsdb_lowest_timestamp_seconds)"
SCRAPED = 5.0  # seconds: monitoring/prometheus.yml.j2
LABEL = re.compile(r"{{(\w+)}}")


def window(end: float, hours: float, since: float = 0.0) -> Window:
    """Return the hours before a time, with as many points as a screen can show; less where nothing is older. Pure."""
    length = max(min(hours * 3600, end - since), SHORTEST)
    return Window(end - length, end, max(SCRAPED, math.ceil(length / POINTS)))


def began(host: Host, port: int) -> float:
    """Ask since when there is data, in seconds since 1970; 0 where Prometheus does not say."""
    answer = ask(host, port, f"/api/v1/query?{urlencode({'query': OLDEST})}")
    values = [float(one["value"][1]) for one in (answer or {}).get("result", ())]
    return values[0] if values else 0.0


def series_of(host: Host, port: int, panel: Panel, within: Window) -> tuple[Series, ...] | None:
    """Ask for a panel's series; None when Prometheus does not answer."""
    asked = {"query": panel.query, "start": within.start, "end": within.end, "step": within.step}
    answer = ask(host, port, f"/api/v1/query_range?{urlencode(asked)}")
    return None if answer is None else read(panel, answer["result"])


def read(panel: Panel, matrix: Sequence[Mapping[str, Any]]) -> tuple[Series, ...]:
    """Read what Prometheus answers; values that are not finite are left out. Pure."""
    return tuple(Series(name(panel, one["metric"]), points(one["values"])) for one in matrix)


def name(panel: Panel, labels: Mapping[str, str]) -> str:
    """Name a series by its labels, as the panel says. Pure."""
    return LABEL.sub(lambda found: labels.get(found[1], ""), panel.series)


def points(values: Sequence[tuple[float, str]]) -> tuple[tuple[float, float], ...]:
    """Read values by time. Pure."""
    read = ((float(time), float(value)) for time, value in values)
    return tuple((time, value) for time, value in read if math.isfinite(value))


def alerts_of(host: Host, port: int) -> list[tuple[str, str, str, str]] | None:
    """Ask which alerts fire: severity, what, next command, panel; the worst first. None when there is no answer."""
    answer = ask(host, port, "/api/v1/alerts")
    if answer is None:
        return None
    firing = [one for one in answer["alerts"] if one["state"] == "firing" and one["labels"].get("severity") != "none"]
    rows = [(one["labels"].get("severity", ""), one["annotations"]) for one in firing]
    alerts = [(severity, own["summary"], own["next"], panel_of(own.get("dashboard", ""))) for severity, own in rows]
    return sorted(alerts)  # critical comes before warning in the alphabet, too


def panel_of(dashboard: str) -> str:
    """Return the title of the panel that an alert names behind its dashboard. Pure."""
    return dashboard.partition(": ")[2]
