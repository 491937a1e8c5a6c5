"""What the collector reads in the journal of real deploys: what was stopped on purpose."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from deploy.insight import compare
from deploy.rollout import takedown
from deploy.state.store import State
from monitoring.programs import collector, records
from tests.support.monitored import container
from tests.support.place import Place

SOON, LATER = 5.0, 700.0  # seconds


def journal(place: Place) -> list[dict[str, Any]]:
    return [*State(place.host, place.settings.state_dir).journal()][::-1]


def moments(lines: list[dict[str, Any]], after: float) -> Iterator[tuple[dict[str, Any], set[str]]]:
    """Yield each line, and what counts as stopped by a deploy while it is the last one, some seconds after it was written."""
    for number, line in enumerate(lines, 1):
        yield line, records.stopped_by_deploy(lines[:number], time.time() + after)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.deploy("r1")
    place.deploy("r2")
    return place


def test_a_scheduler_that_a_deploy_stops_is_not_missed_until_it_starts_the_next_one(place: Place) -> None:
    lines = journal(place)
    stopped = [names for _, names in moments(lines, SOON)]
    assert {name for names in stopped for name in names} == {"beat"}, "backend and worker run in the other colour"
    (stop,) = [n for n, line in enumerate(lines) if "beat" in str(line.get("details")) and line["step"] == "StopColour"]
    (start,) = [
        n for n, line in enumerate(lines) if n > stop and (line.get("step"), line["state"]) == ("StartColour", "done")
    ]
    assert [n for n, names in enumerate(stopped) if names] == [*range(stop, start)]

    assert not any(names for _, names in moments(lines, LATER)), "an interrupted deploy hides nothing for ever"


def test_the_journal_says_that_taking_down_begins_and_that_it_is_done(place: Place) -> None:
    before = len(journal(place))
    assert not records.is_down(journal(place), time.time())
    takedown.down(place.at, volumes=False)
    lines = journal(place)
    down = [records.is_down(lines[:number], time.time()) for number in range(before + 1, len(lines) + 1)]
    assert down == [False, True, True, True], "not for the line that is for the history"


def test_what_inv_status_misses_monitoring_pages() -> None:
    assert set(records.RUNNING) == set(compare.RUNNING)
    assert "wal" in records.RUNNING, "a receiver that is dead is a service that does not run"


def test_alloy_is_told_of_the_files_of_logs_in_the_form_that_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `discovery.http` refuses an answer whose type is another."""

    class Answer(collector.Answer):
        collector = collector.Collector("shop-local", tmp_path)

    inspected = [{**container("app"), "LogPath": "/var/lib/docker/containers/1/1-json.log"}]
    monkeypatch.setattr(collector, "containers", lambda environment: inspected if environment == "shop-local" else [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        with urlopen(f"http://127.0.0.1:{server.server_port}/logs", timeout=5) as answer:
            kind, (target,) = answer.headers["Content-Type"], json.load(answer)
        server.shutdown()
    assert kind == "application/json"
    assert target["labels"]["__path__"] == "/var/lib/docker/containers/1/1-json.log"
