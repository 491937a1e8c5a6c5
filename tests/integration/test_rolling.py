"""Promise 1 for `rolling` and for `inv scale`: replicas change places one by one, and nothing is lost."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from tests import load
from tests.integration.test_no_request_lost import change
from tests.support.queue import Queue
from tests.support.site import Site

STARTS_BADLY = 'raise SystemExit("this release was made to exit at once")\n'
# all kinds of clients; the full rate is for test_no_request_lost.py, with nothing beside it
CLIENTS = load.Scenario(rate=120, new_rate=20, post_rate=10)
ROLLING = {"OPS_ROLLOUT__STRATEGY": "rolling", "OPS_ROLLOUT__FREE_MEMORY_GB": "0"}


@pytest.fixture
def rolling(bookreader: Site) -> Iterator[Site]:
    """BookReader with two backends, which rolls."""
    before = dict(bookreader.extra)
    bookreader.extra |= ROLLING
    bookreader.replace(
        "docker/compose.app.yml",
        "    mem_limit: 512m\n    cpus: 1.5",
        "    scale: 2\n    mem_limit: 512m\n    cpus: 1.5",
    )
    bookreader.commit("two backends")
    bookreader.inv("deploy")
    yield bookreader
    bookreader.extra = before


def running(site: Site, service: str) -> list[str]:
    return sorted(name for name, state in site.containers().items() if f"-{service}-" in name and state == "running")


def fails(site: Site) -> None:
    """Deploy a release that exits at once, and take it out of the checkout again."""
    site.write("backend/bookreader/serve.py", STARTS_BADLY)
    site.commit("a release that exits at once")
    site.inv("deploy", code=1)
    assert len(running(site, "backend")) == 2
    site.git("revert", "--no-edit", "HEAD")


@pytest.mark.night
def test_a_deploy_and_more_and_fewer_replicas_lose_nothing(rolling: Site) -> None:
    """The nights add a deploy that fails and a rollback (test_bookreader.py).

    flow/test_rolling.py has both at every step.
    """
    began, deployed = time.time(), [rolling.inv("status", "--json").document["release"]]
    with load.during(rolling.url, CLIENTS) as clients, Queue(rolling.port) as queue:
        change(rolling, 1)
        deployed.append(rolling.inv("deploy", "--json").document["release"])
        assert len(running(rolling, "backend")) == 2
        if os.environ.get("NIGHTS"):
            fails(rolling)
        rolling.inv("scale", "backend=3")
        rolling.inv("scale", "backend=1")
        report = clients.report()
    assert queue.verdict() == ([], []), f"of {len(queue.accepted)} tasks"
    assert rolling.killed_for_memory(began) == []
    assert set(report.releases) == set(deployed)
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.losses}\n{report.table()}"
    assert len(running(rolling, "backend")) == 1
    assert [
        name
        for name, state in rolling.containers().items()
        if state == "exited" and f"{running(rolling, 'backend')[0][:-1]}" in name
    ] == []
