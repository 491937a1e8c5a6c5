"""The dashboards' panels, from monitoring/panels.toml, and whether each of them has data. Pure but for that file."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from deploy.config.loader import parse
from deploy.config.settings import ROOT
from deploy.monitoring.images import FOLDER
from deploy.site.checks import Check

FILE = FOLDER / "panels.toml"
SHOWN = 3  # so many panels are named
NEXT = "inv monitor.check again in 15 s, then inv monitor.page"


@dataclass(frozen=True)
class Panel:
    """One chart: what Prometheus is asked, how each series is called, its unit, and the job or rules that it needs."""

    title: str
    query: str
    series: str
    unit: str = ""
    needs: str = ""


@dataclass(frozen=True)
class Dashboard:
    """Panels that are shown together."""

    name: str
    title: str
    panels: tuple[Panel, ...]


@cache
def every() -> tuple[Dashboard, ...]:
    """Read every dashboard."""
    read = parse(FILE, ROOT)
    return tuple(
        Dashboard(name, own["title"], tuple(Panel(**{**one, "query": one["query"].strip()}) for one in own["panels"]))
        for name, own in read.items()
    )


def dashboards(watched: Collection[str]) -> tuple[Dashboard, ...]:
    """Return the dashboards of a host that has these jobs and rules, with the panels that have something to show."""
    chosen = (
        Dashboard(one.name, one.title, tuple(panel for panel in one.panels if panel.needs in ("", *watched)))
        for one in every()
    )
    return tuple(one for one in chosen if one.panels)


def panels_of(shown: Sequence[Dashboard]) -> list[Panel]:
    """Return the panels of dashboards, one after the other."""
    return [panel for one in shown for panel in one.panels]


def question(panels: Sequence[Panel]) -> str:
    """Ask at once how many values of each panel are finite, and how many are not.

    Zero times a number is zero; zero times NaN or an infinity is NaN.
    """
    parts = [
        f'label_replace(count(({panel.query}) * 0 {comparison} 0), "panel", "{number} {kind}", "", "")'
        for number, panel in enumerate(panels)
        for kind, comparison in (("finite", "=="), ("odd", "!="))
    ]
    return "\nor ".join(parts)


def judge(asked: str, panels: Sequence[Panel], answer: Any, start: str) -> Check:
    """Judge whether every panel has data, and finite data only; `answer` is what came of the question."""
    if answer is None:
        return Check(asked, "UNKNOWN", "Prometheus does not answer", start)
    counted = {one["metric"]["panel"] for one in answer["result"]}
    wrong = [f"{panel.title}: {lack}" for number, panel in enumerate(panels) if (lack := lacks(number, counted))]
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        return Check(asked, "FAIL", f"of {len(panels)} panels: {'; '.join(wrong[:SHOWN])}{more}", NEXT)
    return Check(asked, "PASS", f"{len(panels)} of {len(panels)} panels")


def lacks(number: int, counted: Collection[str]) -> str:
    """Say what a panel lacks, by the kinds of values that it has; empty where its data is finite."""
    if f"{number} odd" in counted:
        return "values that are no finite numbers"
    return "" if f"{number} finite" in counted else "no data"
