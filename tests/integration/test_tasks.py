"""A task type that only the new release knows: never on an old worker, and done before a rollback lets the new ones go.

And no worker that is told to stop takes tasks into its grave.
"""

from __future__ import annotations

import time

import pytest

from deploy.core.poll import wait_until
from tests.support.queue import Queue
from tests.support.site import Site, docker

NEWER = '''

@broker.celery.task(name="bookreader.newer")
def newer(task_id: str, seconds: float) -> None:
    """Do what the other does, under a name that older releases do not know."""
    debug_task(task_id, seconds)
'''


def test_new_tasks_survive_the_deploy_that_brings_them_and_the_rollback_that_takes_them_away(bookreader: Site) -> None:
    before = bookreader.inv("status", "--json").document["release"]
    with (bookreader.root / "backend/bookreader/runs.py").open("a") as file:
        file.write(NEWER)
    bookreader.replace("backend/bookreader/debug.py", "send_task(broker.DEBUG_TASK", 'send_task("bookreader.newer"')
    bookreader.commit("a task that older releases do not know")
    with Queue(bookreader.port, short_every=0.2) as queue:
        bookreader.inv("deploy")
        for _ in range(6):
            queue.post(5)
        back = bookreader.inv("rollback")
    bookreader.git("revert", "--no-edit", "HEAD")
    assert "wait for tasks that only worker" in back.stderr
    assert "tasks are left" not in back.stderr
    assert bookreader.inv("status", "--json").document["release"] == before
    assert queue.verdict() == ([], []), f"of {len(queue.accepted)} tasks"


@pytest.mark.parametrize("service", ["backend", "worker", "beat"])
def test_what_is_stopped_while_it_starts_ends_at_once(bookreader: Site, service: str) -> None:
    """A release that fails is taken back within a second of its start: long before a program has its handlers."""
    [name] = [name for name, state in bookreader.containers().items() if f"-{service}-" in name and state == "running"]
    docker("stop", name)
    docker("start", name)
    began = time.monotonic()
    docker("stop", "--time", "20", name)
    took, killed = time.monotonic() - began, docker("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "137"
    docker("start", name)
    assert wait_until(lambda: docker("inspect", "--format", "{{.State.Health.Status}}", name).strip() == "healthy", 60)
    assert not killed, f"{service} was killed after {took:.1f} s"
