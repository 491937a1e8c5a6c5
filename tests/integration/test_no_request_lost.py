"""Promise 1: no request is lost across deploy, failed deploy and rollback of the reference app; and no task."""

from __future__ import annotations

import functools
import os
import re
import time
from collections.abc import Callable

import pytest

from deploy.core.poll import wait_until
from tests import load
from tests.support.queue import Queue
from tests.support.site import Site, docker

pytestmark = pytest.mark.alone
NEWER = '''

@broker.celery.task(name="bookreader.newer")
def newer(task_id: str, seconds: float) -> None:
    """Do what the other does, under a name that older releases do not know."""
    debug_task(task_id, seconds)
'''


def change(site: Site, number: int) -> None:
    """Change both halves, so that the next release has other images and other asset names."""
    with (site.root / "backend/bookreader/paths.py").open("a") as file:
        file.write(f"# release {number}\n")
    main = site.root / "frontend/src/main.tsx"
    main.write_text(
        re.sub(r"\ndocument\.body\.dataset\.build = .*", "", main.read_text())
        + f'\ndocument.body.dataset.build = "{number}";\n'
    )
    site.commit(f"release {number}")


def name_task(site: Site) -> None:
    """Let the next release queue tasks by a name that older ones do not know."""
    with (site.root / "backend/bookreader/runs.py").open("a") as file:
        file.write(NEWER)
    site.replace("backend/bookreader/debug.py", "send_task(broker.DEBUG_TASK", 'send_task("bookreader.newer"')
    site.commit("a task that older releases do not know")


def test_a_deploy_a_failed_one_and_a_rollback_lose_nothing(
    bookreader: Site, record_property: Callable[..., None]
) -> None:
    """Keep-alive and new connections, POSTs, slow responses, uploads and WebSockets, all at once.

    The last release brings a task that older ones do not know: it is never on an old worker, and done before the
    rollback lets the new one go.
    """
    began, deployed = time.time(), [bookreader.inv("status", "--json").document["release"]]
    numbers = (1, 2) if os.environ.get("NIGHTS") else (1,)
    with load.during(bookreader.url) as clients, Queue(bookreader.port, short_every=0.2) as queue:
        for number in numbers:
            change(bookreader, number)
            if number == numbers[-1]:
                name_task(bookreader)
            deployed.append(bookreader.inv("deploy", "--json").document["release"])
        bookreader.write("backend/bookreader/serve.py", 'raise SystemExit("this release was made to exit at once")\n')
        bookreader.commit("a release that exits at once")
        bookreader.inv("deploy", code=1)
        bookreader.git("revert", "--no-edit", "HEAD")
        for _ in range(4):
            queue.post(4)
        back = bookreader.inv("rollback", "--json")
        report = clients.report()
    record_property("report", report.table())
    lost, doubled = queue.verdict()
    assert (lost, doubled) == ([], []), f"of {len(queue.accepted)} tasks"
    assert bookreader.killed_for_memory(began) == []
    assert back.document["release"] == deployed[-2]
    assert ("wait for tasks that only worker" in back.stderr, "tasks are left" in back.stderr) == (True, False)
    assert set(report.releases) == set(deployed)
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.losses}\n{report.table()}"


@pytest.mark.night
def test_the_clients_see_what_a_plain_reload_loses(bookreader: Site) -> None:
    """The control: without keepalive_min_timeout the same clients report losses, so their zero means something."""
    edge = next(name for name in bookreader.containers() if "-edge-" in name)
    current = bookreader.state / "edge" / (bookreader.state / "edge" / "current").readlink() / "nginx.conf"
    careful = current.read_text()
    current.write_text(careful.replace("keepalive_min_timeout 5s;", "keepalive_min_timeout 0;"))
    try:
        docker("exec", edge, "busybox", "kill", "-HUP", "1")
        with load.during(bookreader.url, load.Scenario(kinds=("get",))) as clients:
            for _ in range(5):
                workers = accepting(edge)
                docker("exec", edge, "busybox", "kill", "-HUP", "1")
                assert wait_until(functools.partial(lambda before: not before & accepting(edge), workers), 60)
            report = clients.report()
    finally:
        current.write_text(careful)
        docker("exec", edge, "busybox", "kill", "-HUP", "1")
    assert report.verdict == load.FAIL
    assert report.lost >= 5, report.table()


def accepting(edge: str) -> set[str]:
    """The edge's workers that take new connections."""
    lines = docker("exec", edge, "busybox", "ps", "-o", "pid,args").splitlines()[1:]
    return {line.split()[0] for line in lines if line.split(maxsplit=1)[1] == "nginx: worker process"}
