"""A deploy may stop any worker: no task is lost or run twice, and a task not known here is left alone."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi.testclient import TestClient

from bookreader import broker, worker
from bookreader.failures import KEEP_SECONDS
from tests.line import Line, line, names, once_each, starts
from tests.processes import BACKEND, Worker, wait_for, working

Team = Callable[..., AbstractContextManager[Worker]]


@pytest.fixture
def queue() -> Iterator[Line]:
    """Queue tasks apart from the other tests."""
    with line() as made:
        yield made


@pytest.fixture
def team(queue: Line, tmp_path: Path) -> Team:
    """Start workers, each under a name and a release of its own."""

    def start(name: str, **more: str) -> AbstractContextManager[Worker]:
        (tmp_path / name).mkdir()
        return working(tmp_path / name, **{"RELEASE": name, "REDIS_URL": queue.url, **more})

    return start


def ask(of: Worker, command: str) -> str:
    """Run one of the deploy tool's commands, which must succeed."""
    done = of.run("bookreader.tasks", command)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def running(task: UUID) -> bool:
    """Tell whether a task has begun."""
    return bool(starts(task))


def alone(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run one of the commands where no worker is."""
    env = {**os.environ, **more}
    command = (sys.executable, "-m", "bookreader.tasks", *command)
    return subprocess.run(command, cwd=BACKEND, env=env, capture_output=True, text=True, check=False)


def test_quiet_worker_finishes_and_takes_nothing_until_resumed(queue: Line, team: Team) -> None:
    with team("old") as old:
        first = queue.sleeper(2)
        wait_for(lambda: running(first))
        assert ask(old, "quiet").endswith(": quiet\n")
        second = queue.sleeper()
        assert wait_for(lambda: once_each(first))
        with team("new") as new:
            assert wait_for(lambda: once_each(second))
            ask(new, "quiet")
            third = queue.sleeper()
            queue.hang_up()  # a worker that connects again stays quiet
            wait_for(lambda: list(queue.inspect("active_queues").values()) == [[], []])
            assert (len(queue.waiting()), running(third)) == (1, False)
            ask(old, "resume")
            queue.hang_up()  # and one that resumed goes on
            fourth = queue.sleeper()
            assert wait_for(lambda: once_each(third, fourth))
    assert [run.release for run in starts(first, second, third, fourth)] == ["old", "new", "old", "old"]


def test_quiet_gives_back_what_has_not_begun(queue: Line, team: Team) -> None:
    with team("old") as old:
        later, due = queue.sleeper(countdown=60), queue.sleeper(countdown=1)
        wait_for(lambda: len(queue.unacknowledged()) == 2)
        busy = [queue.sleeper(5) for _ in range(2)]
        wait_for(lambda: str(due) in str(queue.inspect("reserved")))
        ask(old, "quiet")
        wait_for(lambda: len(queue.waiting()) == 2)
        assert wait_for(lambda: once_each(*busy))
        with team("new"):
            assert wait_for(lambda: once_each(due))
            assert [run.release for run in starts(*busy, due)] == ["old", "old", "new"]
            assert not running(later)


def test_only_the_worker_of_this_container_is_quiet(queue: Line, team: Team) -> None:
    with team("one") as one, team("two"):
        ask(one, "quiet")
        tasks = [queue.sleeper(0.2) for _ in range(8)]
        assert wait_for(lambda: once_each(*tasks))
    assert {run.release for run in starts(*tasks)} == {"two"}


@pytest.mark.parametrize("first", [(), ("quiet",)], ids=["at once", "quiet before"])
def test_stopped_worker_finishes_and_leaves_the_rest(queue: Line, team: Team, first: tuple[str, ...]) -> None:
    with team("old") as old:
        rest = [queue.sleeper(countdown=8)]  # the worker has it, and has not begun
        wait_for(lambda: len(queue.unacknowledged()) == 1)
        tasks = [queue.sleeper(3) for _ in range(2)]
        wait_for(lambda: all(map(running, tasks)))
        for command in first:
            ask(old, command)
        rest += [queue.sleeper(), queue.sleeper()]
        old.process.send_signal(signal.SIGTERM)
        assert old.process.wait(timeout=20) == 0
    assert once_each(*tasks)
    assert (len(queue.waiting()), queue.unacknowledged()) == (3, [])
    with team("new"):
        assert wait_for(lambda: once_each(*tasks, *rest))


def test_workers_that_come_and_go_run_every_task_once(queue: Line, team: Team) -> None:
    tasks: list[UUID] = []
    with ExitStack() as stack:
        current = stack.enter_context(team("w0"))
        for number in range(1, 4):
            tasks += [queue.sleeper(0.03) for _ in range(60)]
            following = stack.enter_context(team(f"w{number}"))
            if number % 2:
                ask(current, "quiet")
            tasks += [queue.sleeper(0.03) for _ in range(60)]
            current.process.send_signal(signal.SIGTERM)
            tasks += [queue.sleeper(0.03) for _ in range(20)]
            assert current.process.wait(timeout=20) == 0
            current = following
        assert wait_for(lambda: once_each(*tasks))
        assert wait_for(queue.empty)


def test_unknown_task_waits_for_a_newer_worker(queue: Line, team: Team) -> None:
    with team("old", DEBUG_ENDPOINTS="") as old:
        tasks = [queue.sleeper() for _ in range(20)]
        wait_for(
            lambda: len(queue.unacknowledged()) == len(tasks)
        )  # the worker holds more than it may prefetch
        queue.celery.send_task(broker.TIDY_SHELF)
        wait_for(lambda: broker.TIDY_SHELF not in ask(old, "pending"), 10)  # known ones are not held up
        assert ask(old, "pending") == "bookreader.debug_task\n"
        assert ask(old, "failed") == "20\n"
        with team("new"):
            assert wait_for(lambda: once_each(*tasks), 60)
        assert wait_for(queue.empty)
        assert ask(old, "failed") == "20\n"


def test_unknown_task_goes_back_only_every_other_second(queue: Line, team: Team) -> None:
    with team("old", DEBUG_ENDPOINTS=""):
        queue.sleeper()
        times: set[float] = set()

        def delivered(often: int) -> bool:
            times.update(score for _, score in queue.redis.zrange("unacked_index", 0, -1, withscores=True))
            return len(times) >= often

        wait_for(lambda: delivered(3))
        assert max(times) - min(times) > 3.5


def test_pending_names_what_waits_runs_and_is_kept(queue: Line, team: Team) -> None:
    with team("old") as old:
        assert ask(old, "pending") == ""
        task = queue.sleeper(3)
        wait_for(lambda: running(task))
        assert ask(old, "pending") == "bookreader.debug_task\n"
        queue.celery.send_task("bookreader.later", countdown=60)
        wait_for(lambda: "bookreader.later" in names(queue.unacknowledged()))
        ask(old, "quiet")
        queue.celery.send_task("bookreader.queued")
        queue.celery.send_task("bookreader.urgent", priority=9)
        seen = ask(old, "pending").split()
        assert seen == ["bookreader." + name for name in ("debug_task", "later", "queued", "urgent")]


def test_known_needs_no_broker() -> None:
    done = alone("known", REDIS_URL="redis://127.0.0.1:1/0", DEBUG_ENDPOINTS="true")
    assert done.stdout.split() == [broker.DEBUG_TASK, broker.PARSE_BOOK, broker.TIDY_SHELF]
    assert broker.DEBUG_TASK not in alone("known", DEBUG_ENDPOINTS="").stdout


@pytest.mark.parametrize("command", ["pending", "failed", "quiet", "resume"])
def test_absent_redis_is_one_line(tmp_path: Path, command: str) -> None:
    (tmp_path / "worker.name").write_text("any@where")
    done = alone(command, REDIS_URL="redis://127.0.0.1:1/0", TMPDIR=str(tmp_path))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith("bookreader: Redis cannot be asked: ")


def test_quiet_says_when_there_is_no_worker(tmp_path: Path) -> None:
    done = alone("quiet", TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "bookreader: there is no worker in this container\n")
    (tmp_path / "worker.name").write_text("gone@away")
    done = alone("quiet", TMPDIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (1, "bookreader: gone@away does not answer\n")


def test_failed_counts_what_failed_for_good(queue: Line, team: Team) -> None:
    with team("new") as new:
        assert ask(new, "failed") == "0\n"
        queue.celery.send_task(broker.DEBUG_TASK, ["no uuid", 0])
        wait_for(lambda: ask(new, "failed") == "1\n")
        queue.sleeper(30, soft_time_limit=1)
        wait_for(lambda: ask(new, "failed") == "2\n")
        assert 0 < queue.redis.ttl("bookreader:failed:new") <= KEEP_SECONDS
    with team("other", DATABASE_URL="postgresql+psycopg://nobody@127.0.0.1:1/none") as other:
        queue.celery.send_task(broker.PARSE_BOOK, [str(uuid4())])
        wait_for(lambda: [m for m in queue.unacknowledged() if m["headers"]["retries"]])
        assert ask(other, "failed") == "0\n"  # it is tried again, and this is another release


def test_every_task_is_acknowledged_when_it_is_done() -> None:
    """What `pending` reads is true only then."""
    own = [task for name, task in worker.app.tasks.items() if name.startswith("bookreader.")]
    assert len(own) == 3
    assert all(task.acks_late and task.reject_on_worker_lost for task in own)


def test_no_task_is_delivered_again_while_it_runs() -> None:
    longest = broker.celery.conf.task_time_limit + 60  # a minute is the longest wait between attempts
    assert broker.celery.conf.broker_transport_options["visibility_timeout"] > longest


@pytest.mark.usefixtures("worker")
def test_debug_task_leaves_a_row(client: TestClient) -> None:
    asked = {"id": str(uuid4()), "seconds": 0.2}
    response = client.post("/api/debug/tasks", json=asked)
    assert (response.status_code, response.json()) == (202, asked)

    def row() -> Any:
        rows = [row for row in client.get("/api/debug/tasks").json() if row["id"] == asked["id"]]
        return rows[0] if rows and rows[0]["finished_at"] else None

    done = wait_for(row)
    assert done["release"] == "tested"
    assert done["started_at"] < done["finished_at"]


@pytest.mark.parametrize("seconds", [-1, 61, "NaN"])
def test_debug_task_has_an_end(client: TestClient, seconds: object) -> None:
    asked = {"id": str(uuid4()), "seconds": seconds}
    assert client.post("/api/debug/tasks", json=asked).status_code == 422
