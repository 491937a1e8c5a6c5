"""The dashboards' panels: what is asked, and when they have data."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.monitoring import panels
from deploy.monitoring.panels import Panel

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
    assert everywhere == {"", "edge", "nginx", "postgres", "redis"}
    bare = panels.dashboards(())
    assert [one.name for one in bare] == ["overview", "app", "deploys"]
    assert {panel.needs for panel in panels.panels_of(bare)} == {""}
    assert panels.dashboards(everywhere) == panels.every()


def test_no_two_panels_have_one_title() -> None:
    titles = [panel.title for panel in panels.panels_of(panels.every())]
    assert len(titles) == len(set(titles))
    assert {panel.unit for panel in panels.panels_of(panels.every())} <= {"", "/s", "share", "bytes", "s"}
