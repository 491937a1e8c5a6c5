"""BookReader itself on three servers, under every kind of client at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import load
from tests.integration.test_no_request_lost import change
from tests.machines import Fleet
from tests.nights.servers import ServerSite, ServersNight, all_lost_nothing
from tests.nights.test_servers import some, started
from tests.support import remote
from tests.support.queue import Queue
from tests.support.site import Site, copy_checkout

__all__ = ["started"]  # the fixture
FILE = f"deploy/environments/{remote.ENV}.toml"
# what one machine that plays all three can bear
EVERY_KIND = load.Scenario(
    connections=4, rate=60, new_rate=15, post_rate=5, slow_clients=2, uploads=1, sockets=3,
    minimums={"get": 300, "post": 50, "upload": 3, "ws": 3},
)  # fmt: skip
APART = {"app1": ("edge", "app"), "app2": ("edge", "app", "worker"), "app3": ("data", "worker")}
BEHIND = {"app1": ("edge", "worker"), "app2": ("app",), "app3": ("app", "data", "worker")}


@pytest.fixture(params=[APART, BEHIND], ids=["an edge on each", "one edge"])
def library(request: pytest.FixtureRequest, started: Fleet, tmp_path: Path) -> Iterator[ServersNight]:
    """BookReader on three servers, in both shapes: edges and apps, workers, and the data on one of them."""
    made = Site(tmp_path)
    copy_checkout(made)
    site = ServerSite(made.folder, made.app, made.extra)
    site.machines = some(started, 3)
    own = {
        name: f'roles = {list(request.param[name])}\nprivate = "{machine.address}"'
        for name, machine in site.machines.items()
    }
    remote.name_hosts(site, site.machines, started.key, '[variables]\nDEBUG_ENDPOINTS = "true"', own)
    site.inv("secrets.init")
    night = ServersNight(
        site, machines={name: site.machines[name] for name, roles in request.param.items() if "edge" in roles}
    )
    try:
        night.falls()
        yield night
    finally:
        night.ends()


def test_bookreader_on_three_servers(library: ServersNight) -> None:
    """BookReader on three servers: two releases, rolling where that goes, one that exits, and back.

    WebSockets, uploads and tasks go on.
    """
    night, site, edges = library, library.site, library.machines
    with (
        remote.under_load(site, edges, EVERY_KIND) as clients,
        Queue(site.port, site.machines["app1"].address) as queue,
    ):
        deployed = [night.first]
        for number in (1, 2):
            change(site, number)
            site.inv("build", "--push")
            deployed.append(site.inv("deploy", "--json").document["release"])
            if len(edges) > 1:
                site.extra["OPS_ROLLOUT__STRATEGY"] = "rolling"
                site.inv("scale", "backend=2")
        site.write("backend/bookreader/serve.py", 'raise SystemExit("this release was made to exit at once")\n')
        site.commit("a release that exits at once")
        site.inv("build", "--push")
        site.inv("deploy", code=1)
        site.git("revert", "--no-edit", "HEAD")
        assert site.inv("rollback", "--json").document["release"] == deployed[1]
        all_lost_nothing(clients, night)
    lost, doubled = queue.verdict()
    assert (lost, doubled) == ([], []), f"of {len(queue.accepted)} tasks"
    night.tell(f"0 of {len(queue.accepted)} tasks lost")
