"""BookReader's tasks, watched through Redis.

A queue that is new, tasks that fail, a queue and a scheduler that stand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from deploy.core.poll import wait_until
from tests.support.listener import Listener, listening
from tests.support.site import Site, docker, make_bookreader
from tests.support.watched import add_secrets, watchable

Report = Callable[[str, object], None]
SEND = """
from bookreader import broker
for number in range({number}):
    broker.celery.send_task({task}, ["no book"], queue={queue!r})
"""


@pytest.fixture(scope="module")
def people() -> Iterator[Listener]:
    with listening() as listener:
        yield listener


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, people: Listener) -> Iterator[Site]:
    """BookReader in service, watched."""
    with watchable(make_bookreader(tmp_path_factory.mktemp("tasks"))) as site:
        add_secrets(site, f"NOTIFY_URLS={people.url}")
        site.inv("deploy")
        site.inv("monitor.up", code=3)  # nobody waits for a sign of life
        yield site


def name_of(site: Site, service: str) -> str:
    (name,) = [name for name in site.containers() if f"-{service}-" in name]
    return name


def send(site: Site, number: int, queue: str = "celery", task: str = "broker.PARSE_BOOK") -> None:
    docker("exec", name_of(site, "worker"), "python", "-c", SEND.format(number=number, queue=queue, task=task))


def asked(site: Site, query: str) -> list[float]:
    """Ask the site's Prometheus; the values."""
    status, body = site.get(f"/api/v1/query?query={quote(query)}", int(site.extra["OPS_MONITOR__PROMETHEUS_PORT"]))
    return [float(one["value"][1]) for one in json.loads(body)["data"]["result"]] if status == 200 else []


def test_a_new_queue_is_watched_and_somebody_is_notified_of_tasks_that_fail(
    library: Site, people: Listener, record_property: Report
) -> None:
    """Tasks of a queue that nobody consumes wait, and six tasks fail."""
    checks = {one["asked"]: one for one in library.inv("monitor.check", "--json", code=3).document}
    assert checks["targets are up"]["result"] == checks["dashboards show data"]["result"] == "PASS", checks
    assert asked(library, "ops_task_workers") == [1]
    began = time.monotonic()
    send(library, 2, queue="letters")
    assert wait_until(lambda: asked(library, 'ops_queue_tasks{queue="letters"}') == [2], 90)
    listed = time.monotonic() - began
    send(library, 6)
    message = people.first("tasks failed within 15 minutes", 120)
    assert "service: worker" in message.text
    assert "runbook: inv incident.playbook queue-stuck --env=local" in message.text
    docker("exec", name_of(library, "redis"), "redis-cli", "del", "letters")
    record_property("report", f"queue -> counted: {listed:.0f} s; failed -> notified: {message.at - began:.0f} s")


def test_a_scheduler_that_ticks_and_sends_nothing(library: Site, people: Listener, record_property: Report) -> None:
    """The lock of the scheduler is somebody else's: it ticks, its health check is well, and nothing is sent."""
    began = time.monotonic()
    docker("exec", name_of(library, "redis"), "redis-cli", "set", "bookreader:beat", "another", "EX", "3600")
    try:
        message = people.first("bookreader.tidy_shelf was not sent", 900)
    finally:
        docker("exec", name_of(library, "redis"), "redis-cli", "del", "bookreader:beat")
    record_property("report", f"stalled -> notified: {message.at - began:.0f} s")
    assert people.first("bookreader.tidy_shelf was not sent", 180, resolved=True)


def test_workers_that_live_and_take_nothing(library: Site, people: Listener, record_property: Report) -> None:
    """The worker was told to take no more, and three tasks wait."""
    worker, began = name_of(library, "worker"), time.monotonic()
    docker("exec", worker, "python", "-m", "bookreader.tasks", "quiet")
    send(library, 3)
    try:
        message = people.first("wait, and none has ended", 900)
    finally:
        docker("exec", worker, "python", "-m", "bookreader.tasks", "resume")
    record_property("report", f"stuck -> notified: {message.at - began:.0f} s")
    assert people.first("wait, and none has ended", 180, resolved=True)
