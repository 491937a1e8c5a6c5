"""The overview as one HTML page: the dashboards' panels from Prometheus, what was deployed, the four keys."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused
from deploy.core.model import Record
from deploy.hosts import fleet
from deploy.incidents import dora, metrics
from deploy.insight.history import outcome
from deploy.monitoring import chart, panels, run, series, stack
from deploy.monitoring.chart import Chart, Mark, Window
from deploy.monitoring.check import START
from deploy.monitoring.images import FOLDER
from deploy.site.checks import Check, require_open
from deploy.site.run import Run

TEMPLATE = FOLDER / "page.html.j2"
OURS = '<meta name="generator" content="bookreader-ops monitor.page">'  # stands in every page that was written here
DAYS = 30  # of the four keys
LONGEST = 15 * 24  # hours
Dashboards = tuple[tuple[str, tuple[Chart, ...]], ...]


@dataclass(frozen=True)
class View:
    """One host on the page: its alerts, None where Prometheus does not answer, and its dashboards' charts.

    `lost` says why the host is not reached.
    """

    host: str
    alerts: Sequence[tuple[str, str, str, str]] | None
    dashboards: Dashboards = ()
    lost: str = ""

    @property
    def titles(self) -> frozenset[str]:
        """The charts that there are, for the links of alerts."""
        return frozenset(chart.title for _, charts in self.dashboards for chart in charts)

    def anchor(self, title: str) -> str:
        """Return what a link to a chart names. Pure."""
        return "-".join(re.findall("[a-z0-9]+", f"{self.host} {title}".lower()))


def show(at: Environment, *, file: str, hours: int) -> None:
    """Write the page of the last hours.

    Raises Refused before anything is asked for a file that is somebody else's. Where a host's Prometheus does not
    answer, or a host is not reached, the page names it; once it is written raises GateClosed, exit 3, or that error.
    """
    path = Path(file).absolute()
    require_ours(path)
    if not 1 <= hours <= LONGEST:
        what, then = f"--hours must be 1 to {LONGEST}, not {hours}", "inv monitor.page --hours=24, for example"
        raise Refused(what, where="inv monitor.page", then=then, slug="wrong-usage")
    now = datetime.now(UTC)
    recorded, unread = metrics.read(at, now - timedelta(days=DAYS))
    runs, unreachable = run.reachable_runs(at)
    by_name, hosts = {own.host.name: own for own in runs}, [own.host for own in runs]
    since, _ = at.gather(lambda host: series.began(host, at.settings.monitor.prometheus_port), hosts)
    window = series.window(now.timestamp(), hours, min(since.values(), default=0.0))
    marks = marks_of(recorded.entries, window)
    with console.step("ask Prometheus"):
        seen, failed = at.gather(lambda host: view(by_name[host.name], window, marks), hosts)
    unreachable |= failed
    lost = [View(name, None, lost=error.what.partition("\n")[0]) for name, error in unreachable.items()]
    views = (*seen.values(), *lost)
    checks = [judge(own) for own in seen.values()]
    if any(check.result == "PASS" for check in checks):
        keys = dora.measures(recorded, now, DAYS)
        at.here.write(path, render(at, views, window, recorded.entries, keys))
        console.say(f"written: {path}")
    fleet.raise_unreachable(unread | unreachable)
    require_open(checks)


def require_ours(path: Path) -> None:
    """Refuse to write over what was not written here."""
    if path.is_dir() or (path.exists() and OURS not in path.read_text(errors="replace")[:1000]):
        what = f"{path} is there, and is no page of inv monitor.page"
        raise Refused(what, where="--file", then="name another file", slug="file-exists")


def view(own: Run, window: Window, marks: Sequence[Mark]) -> View:
    """Ask one host's Prometheus for everything."""
    host, port = own.host, own.settings.monitor.prometheus_port
    alerts = series.alerts_of(host, port)
    if alerts is None:
        return View(host.name, None)
    shown = panels.dashboards(stack.stack_of(own, "").watched)

    def drawn(panel: panels.Panel) -> Chart:
        found = series.series_of(host, port, panel, window) or ()
        return chart.chart(panel.title, panel.unit, found, window, marks)

    return View(host.name, alerts, tuple((one.title, tuple(map(drawn, one.panels))) for one in shown))


def judge(own: View) -> Check:
    """Judge whether a host's Prometheus answered."""
    asked = f"Prometheus of {own.host}"
    return Check(asked, "UNKNOWN", "it does not answer", START) if own.alerts is None else Check(asked, "PASS")


def within(entries: Sequence[Record], window: Window) -> list[Record]:
    """Return what ended in the time that is shown, oldest first; a host's clock may be ahead. Pure."""
    return [entry for entry in entries if window.start <= dora.ended(entry).timestamp()]


def marks_of(entries: Sequence[Record], window: Window) -> tuple[Mark, ...]:
    """Return what was done as marks in the charts, numbered as in the table. Pure."""
    return tuple(
        Mark(
            min(dora.ended(entry).timestamp(), window.end),
            number,
            f"{entry.command} of {entry.release}: {entry.outcome}",
        )
        for number, entry in enumerate(within(entries, window), start=1)
    )


def rows_of(entries: Sequence[Record], window: Window) -> list[list[object]]:
    """Return the table of what was done, newest first. Pure."""
    rows: list[list[object]] = [
        [
            number,
            f"{dora.ended(one):%d %b %H:%M}",
            one.command,
            one.release,
            outcome(one),
            f"{one.seconds:.0f} s",
            one.who,
        ]
        for number, one in enumerate(within(entries, window), start=1)
    ]
    return rows[::-1]


def state_of(views: Sequence[View]) -> tuple[str, str]:
    """Say in a word how it is, and how good that is. Pure."""
    alerts = [severity for own in views for severity, *_ in own.alerts or ()]
    if "critical" in alerts:
        return f"{alerts.count('critical')} critical alert(s)", "bad"
    if any(own.alerts is None for own in views):
        return "not every host can be seen", "warn"
    return (f"{len(alerts)} warning(s)", "warn") if alerts else ("no alert fires", "good")


def span(window: Window) -> str:
    """Write how long a time is. Pure."""
    minutes = round((window.end - window.start) / 60)
    return "hour" if minutes == 60 else f"{minutes} minutes" if minutes < 120 else f"{minutes / 60:.0f} hours"


def render(
    at: Environment, views: Sequence[View], window: Window, entries: Sequence[Record], keys: Sequence[dora.Measure]
) -> str:
    """Render the page. Pure."""
    from jinja2 import Environment as Templates
    from jinja2 import FileSystemLoader, StrictUndefined

    state, mood = state_of(views)
    own = Templates(loader=FileSystemLoader(FOLDER), undefined=StrictUndefined, autoescape=True)
    return own.get_template(TEMPLATE.name).render(
        name=at.settings.name, env=at.settings.env, until=f"{datetime.fromtimestamp(window.end, UTC):%d %b %Y, %H:%M}",
        span=span(window), state=state, mood=mood, views=views, several=len(views) > 1,
        keys=keys, days=DAYS, rows=rows_of(entries, window),
    )  # fmt: skip
