"""A release that is healthy and yet bad is out of service within 10 s, by itself."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import load
from tests.integration.test_interrupted import roll
from tests.site import Site

READERS = load.Scenario(kinds=("get", "new"), paths=("/",), rate=150, new_rate=20)


@contextmanager
def seen(site: Site) -> Iterator[dict[str, list[float]]]:
    """Note when each release answered, over new connections."""
    times: dict[str, list[float]] = {}
    over = threading.Event()

    def ask() -> None:
        while not over.wait(0.05):
            status, body = site.get("/version")
            if status == 200:
                times.setdefault(json.loads(body)["release"], []).append(time.monotonic())

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield times
    finally:
        over.set()
        asking.join()


@pytest.fixture
def watched(tiny: Site) -> Site:
    """A tiny site in service, watched as long as by default."""
    del tiny.extra["OPS_ROLLOUT__WATCH"]
    tiny.inv("deploy", OPS_ROLLOUT__WATCH="0")
    return tiny


BAD = [("errs", "were answered with 5xx; before, 0%", False), ("crawls", "95th percentile", False), ("crawls", "95th percentile", True)]


@pytest.mark.parametrize(("behaviour", "words", "rolling"), BAD, ids=["errs", "crawls", "crawls beside a good one"])
def test_a_bad_release_is_out_of_service_within_ten_seconds(watched: Site, behaviour: str, words: str, rolling: bool) -> None:
    if rolling:
        roll(watched)
        watched.inv("deploy", OPS_ROLLOUT__WATCH="0")
    good = watched.inv("status", "--json").document["release"]
    with load.during(watched.url, READERS) as clients, seen(watched) as times:
        threading.Event().wait(10)  # the minute before must have requests to compare with
        failed = watched.inv("deploy", code=1, OPS_VARIABLES__BEHAVIOUR=behaviour).stderr
        report = clients.report()
    assert words in failed
    assert f"serves: release {good}" in failed
    bad = next(release for release in times if release != good)
    assert times[bad][-1] - times[bad][0] < 10
    assert watched.inv("status", "--json").document["release"] == good
    assert watched.inv("history", "--json").document[0]["outcome"] == "failed"
    # its own errors are counted apart; everything else stays 0
    assert [loss for loss in report.losses if not (behaviour == "errs" and "status 500" in loss.what)] == []
    assert report.kinds["get"].requests > 1000


def test_without_traffic_the_toolkit_probes(watched: Site) -> None:
    watched.replace("app/app.py", "Takes a burst", "Stands a burst")
    watched.commit()
    said = watched.inv("deploy").stderr
    probes = re.search(r"low traffic: \d+ requests in 10 s; (\d+) probes were answered", said)
    assert probes, said
    assert int(probes[1]) >= 10
