"""A Prometheus that has data for every panel, for tests on fake hosts."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from deploy.monitoring import panels

LABELS = {"class": "2xx", "service": "backend", "job": "edge", "severity": "any", "mountpoint": "/"}
ALERT = {
    "state": "firing",
    "labels": {"alertname": "ServiceDown", "severity": "critical"},
    "annotations": {
        "summary": "app does not run <b>", "next": "inv status --env=local",
        "dashboard": "app: Containers that are missing"
    },
}  # fmt: skip


def well(path: str) -> Any:
    """Answer a question: for panels that all have data, for one panel's values, for alerts."""
    asked, words = urlsplit(path).path, parse_qs(urlsplit(path).query)
    if asked == "/api/v1/alerts":
        return {"alerts": [ALERT, {"state": "pending", "labels": {}}]}
    if asked == "/api/v1/query_range":
        start, end, step = (float(words[name][0]) for name in ("start", "end", "step"))
        values = [[start + step * number, str(number % 7)] for number in range(int((end - start) / step) + 1)]
        return {"result": [{"metric": LABELS, "values": values}]}
    kinds = re.findall(r'"panel", "(\d+ finite)"', words["query"][0])
    return {"result": [{"metric": {"panel": kind}, "value": [0, "1"]} for kind in kinds]}


def without(title: str) -> Callable[[str], Any]:
    """Answer as one that has nothing for one panel."""
    (query,) = [panel.query for panel in panels.panels_of(panels.every()) if panel.title == title]

    def answer(path: str) -> Any:
        found = well(path)
        asked = parse_qs(urlsplit(path).query)["query"][0]
        before, _, _ = asked.partition(query)
        number = before.count('finite"')
        return {"result": [one for one in found["result"] if one["metric"]["panel"] != f"{number} finite"]}

    return answer
