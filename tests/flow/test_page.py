"""`inv monitor.page` on a fake host: one file that asks nobody for anything, and is no other's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from deploy.config.environment import Environment
from deploy.core.errors import GateClosed, Refused
from deploy.hosts.local import LocalHost
from deploy.incidents import page
from deploy.monitoring import panels
from tests.support import prometheus
from tests.support.place import Place

VOID = {"meta", "br", "path"}


class Tags(HTMLParser):
    """Every element that is opened, and whether each is closed where it should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []
        self.within: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))
        if tag not in VOID:
            self.within.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.within.pop() == tag

    def of(self, name: str) -> Iterator[dict[str, str | None]]:
        yield from (attrs for tag, attrs in self.opened if tag == name)


def show(place: Place, file: Path, hours: int = 1) -> None:
    """Write the page from this machine, which has git, of the fake host."""
    at = Environment(place.settings, LocalHost(), (place.host,))
    page.show(at, file=str(file), hours=hours)


def written(place: Place, file: Path) -> str:
    place.host.prometheus = prometheus.well
    show(place, file)
    return file.read_text()


@pytest.fixture
def deployed(place: Place) -> Place:
    place.deploy("r1")
    return place


def test_a_page_has_every_panel_of_the_host_with_what_was_deployed(deployed: Place, tmp_path: Path) -> None:
    text = written(deployed, tmp_path / "p.html")
    tags = Tags(text)
    assert tags.within == [], "an element is not closed"
    shown = panels.panels_of(panels.dashboards({"edge", "nginx", "redis", "tasks"}))
    assert re.findall("<figcaption>(.*?)</figcaption>", text) == [panel.title for panel in shown]
    lines = [own["d"] or "" for own in tags.of("path") if str(own.get("class")).startswith("line")]
    assert len(lines) == len(shown)
    assert all(line.count("L") > 100 for line in lines), "a chart is drawn"
    marks = text.count('<path class="mark"')
    done = len({(one.started, one.command, one.release) for one in deployed.state.history()})
    assert marks == done * len(shown) > 0, "every deploy is marked in every chart"
    assert text.count("<tr><td>") == done
    assert text.count('class="key"') == 4
    assert "1 critical alert(s)" in text
    assert "no data" not in text


def test_a_page_asks_nobody_for_anything_and_shows_text_as_text(deployed: Place, tmp_path: Path) -> None:
    text = written(deployed, tmp_path / "p.html")
    assert "app does not run &lt;b&gt;" in text
    asking = {"src", "srcset", "action", "poster", "data"}
    tags = Tags(text)
    assert not [attrs for _, attrs in tags.opened if asking & set(attrs)]
    assert {tag for tag, attrs in tags.opened if "href" in attrs} == {"a"}
    assert not re.search(r"url\(|@import|<script|https?:", text)
    assert "default-src 'none'" in text


def test_an_alert_on_the_page_leads_to_its_chart(deployed: Place, tmp_path: Path) -> None:
    tags = Tags(written(deployed, tmp_path / "p.html"))
    assert [own["href"] for own in tags.of("a")] == ["#localhost-containers-that-are-missing"]
    charts = [own["id"] for own in tags.of("figure")]
    assert len(set(charts)) == len(charts)
    assert "localhost-containers-that-are-missing" in charts


def test_a_page_is_written_over_a_page_and_over_nothing_else(deployed: Place, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    written(deployed, file)
    written(deployed, file)
    other = tmp_path / "README.md"
    other.write_text("somebody's")
    for taken in (other, tmp_path):
        with pytest.raises(Refused) as refused:
            show(deployed, taken)
        assert refused.value.slug == "file-exists"
    assert other.read_text() == "somebody's"


@pytest.mark.parametrize("hours", [0, 361])
def test_hours_that_are_not_kept_are_refused(deployed: Place, tmp_path: Path, hours: int) -> None:
    with pytest.raises(Refused, match=f"must be 1 to 360, not {hours}"):
        show(deployed, tmp_path / "p.html", hours)
    assert not (tmp_path / "p.html").exists()


def test_without_prometheus_there_is_no_page_and_the_next_command_is_named(deployed: Place, tmp_path: Path) -> None:
    with pytest.raises(GateClosed, match="Prometheus of localhost is UNKNOWN"):
        show(deployed, tmp_path / "p.html")
    assert not (tmp_path / "p.html").exists()
