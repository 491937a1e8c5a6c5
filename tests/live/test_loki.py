"""The real Loki and Alloy, from their public images: a line of every container is in Loki within 15 s."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest

from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.incidents import arrival
from tests.support.site import Site, docker, make_tiny
from tests.support.watched import watchable


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A small site whose logs are sent to Loki."""
    with watchable(make_tiny(tmp_path_factory.mktemp("logs"))) as site:
        site.extra |= {"OPS_BUILD__BASES": "public"}
        site.inv("deploy")
        site.inv("monitor.up", code=3)  # nobody is notified
        assert wait_until(lambda: site.get("/ready", port(site))[0] == 200, 60), "Loki takes some seconds"
        yield site


def port(site: Site) -> int:
    return int(site.extra["OPS_MONITOR__LOKI_PORT"])


def kept(site: Site, container: str) -> str:
    """What Loki has of a container, as it answers."""
    words = urlencode({"query": f"{{container={json.dumps(container)}}}", "limit": 1000})
    return site.get(f"/loki/api/v1/query_range?{words}", port(site))[1]


def test_a_line_of_every_container_is_in_loki_within_15_seconds(site: Site) -> None:
    names = site.containers()
    markers = {name: arrival.write(LocalHost(), name)[0] for name in names}
    assert markers
    assert all(markers.values()), "each can write one"
    for name, marker in markers.items():
        assert wait_until(lambda name=name, marker=marker: marker in kept(site, name), arrival.WITHIN), name  # type: ignore[misc]


def test_lines_of_a_container_that_was_removed_are_shown_and_loki_that_is_away_is_named(site: Site) -> None:
    (name,) = [one for one in site.containers() if "-app-" in one]
    marker, _, _ = arrival.write(LocalHost(), name)
    assert wait_until(lambda: marker in kept(site, name), arrival.WITHIN)
    for words in ("good day", "good evening"):  # the second release takes this colour's place
        text = (site.root / "app/app.py").read_text()
        site.write("app/app.py", f"{text}\n# {words}\n")
        site.commit()
        site.inv("deploy")
    assert marker in site.inv("logs", "--since=30m").stdout
    docker("stop", f"{site.app}-local-monitoring-loki-1")
    shown = site.inv("logs", "--since=10m")
    assert "Loki of localhost does not answer" in shown.stderr
    assert site.get("/")[0] == 200, "the app does not notice"
