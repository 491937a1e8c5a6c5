"""The page of `inv monitor.page` in a real browser, which reaches nobody."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from deploy.config.environment import Environment
from deploy.config.settings import ROOT
from deploy.hosts.local import LocalHost
from deploy.images import bases
from deploy.incidents import page
from tests.support import prometheus
from tests.support.place import Place
from tests.support.site import docker

BROWSER = bases.Base("night-browser", "", "trixie", "minbase", ("chromium", "fonts-dejavu-core"), recipe="1")
WORDS = ("--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files", "--virtual-time-budget=5000")
# the page cannot run a script: one around it measures it, in a frame as wide as the screen
HARNESS = """<!doctype html><title>-</title>
<iframe src="page.html" style="width:{width}px;height:20000px;border:0" onload="measure(this)"></iframe>
<script>function measure(frame) {{
  const page = frame.contentDocument, all = [...page.querySelectorAll("*")], style = frame.contentWindow.getComputedStyle(page.body);
  const seen = {{
    wide: page.documentElement.scrollWidth,
    charts: [...page.querySelectorAll("path.line")].filter(line => line.getBBox().width > 900).length,
    figures: page.querySelectorAll("figure").length,
    covered: [...page.querySelectorAll(".levels span")].filter(one => one.getBoundingClientRect().left < 0).length,
    small: all.filter(one => one.childElementCount == 0 && one.textContent.trim() && !one.closest("head, svg")
      && parseFloat(frame.contentWindow.getComputedStyle(one).fontSize) < 10).length,
    paper: style.backgroundColor, ink: style.color,
  }};
  document.title = JSON.stringify(seen);
}}</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    """An image with a browser in it."""
    if not bases.present(BROWSER.local_tag, LocalHost()):
        bases.build(BROWSER, ROOT, LocalHost())
    return BROWSER.local_tag


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The page of a site on a fake host, whose Prometheus has data for every panel."""
    (tmp_path / "site").mkdir()
    place = Place(tmp_path / "site")
    place.deploy("r1")
    place.host.prometheus = prometheus.well
    folder = tmp_path / "shown"
    at = Environment(place.settings, LocalHost(), (place.host,))
    page.show(at, file=str(folder / "page.html"), hours=6)
    return folder


def measured(browser: str, folder: Path, width: int, *words: str) -> dict[str, object]:
    """Show the page in a frame and return what was measured in it."""
    (folder / "harness.html").write_text(HARNESS.format(width=width))
    run = ("run", "--rm", "--network=none", f"--volume={folder}:/shown:ro", "--tmpfs=/tmp", "--env=HOME=/tmp")
    dom = docker(*run, browser, "chromium", *WORDS, *words, "--dump-dom", "file:///shown/harness.html")
    (title,) = re.findall("<title>(.*?)</title>", dom.split("<iframe")[0])
    assert title != "-", "the page was not measured"
    return dict(json.loads(title.replace("&amp;", "&").replace("&quot;", '"')))


def test_a_page_fits_a_phone_and_follows_light_and_dark(browser: str, written: Path) -> None:
    """A page is opened on a phone, and at night."""
    phone = measured(browser, written, 360)
    desk = measured(browser, written, 1280)
    dark = measured(browser, written, 1280, "--blink-settings=preferredColorScheme=0")
    for seen, width in ((phone, 360), (desk, 1280), (dark, 1280)):
        assert seen["wide"] == width, "it can be scrolled sideways"
        assert seen["charts"] == seen["figures"], "every chart is drawn from one side to the other"
        assert (seen["covered"], seen["small"]) == (0, 0), "words that nobody can read"
    assert dark["paper"] != desk["paper"]
    assert dark["ink"] != desk["ink"]
