"""What the program that watches tasks makes of Redis's answers and of what workers publish."""

from __future__ import annotations

import base64
import io
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest

from monitoring.programs import tasks
from monitoring.programs.redis import Redis


def published(*events: dict[str, Any]) -> str:
    """A message as kombu publishes it: one event by itself, several as a list."""
    body = json.dumps(events[0] if len(events) == 1 else events).encode()
    return json.dumps({"body": base64.b64encode(body).decode(), "properties": {"body_encoding": "base64"}})


def event(kind: str, worker: str = "celery@a", **more: Any) -> dict[str, Any]:
    return {"type": kind, "hostname": worker, **more}


def measured(events: tasks.Events) -> dict[str, float]:
    return {name + "".join(labels.values()): value for name, labels, value in events.measured()}


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def events(now: list[float]) -> tasks.Events:
    own = tasks.Events("shop.tidy", lambda: now[0])
    own.listening = True
    return own


def test_a_worker_lives_while_it_says_so_and_no_longer(events: tasks.Events, now: list[float]) -> None:
    events.note("/3.celeryev/worker.heartbeat", published(event("worker-heartbeat")))
    events.note("/3.celeryev/worker.heartbeat", published(event("worker-heartbeat", "celery@b")))
    assert (measured(events)["ops_task_workers"], events.database) == (2, 3)
    events.note("/3.celeryev/worker.offline", published(event("worker-offline", "celery@b")))
    assert measured(events)["ops_task_workers"] == 1
    now[0] += tasks.ALIVE
    assert measured(events)["ops_task_workers"] == 0


def test_while_nobody_listens_no_worker_is_called_away(events: tasks.Events) -> None:
    events.listening = False
    assert set(measured(events)) == {f"ops_tasks_total{name}" for name in tasks.COUNTED}


def test_what_became_of_tasks_is_counted_one_by_one_and_of_several_at_once(events: tasks.Events) -> None:
    events.note(
        "/0.celeryev/task.multi", published(event("task-received"), event("task-failed"), event("task-started"))
    )
    events.note("/0.celeryev/task.multi", published(event("task-received")))
    counted = measured(events)
    assert (counted["ops_tasks_totalreceived"], counted["ops_tasks_totalfailed"]) == (2, 1)
    assert (counted["ops_tasks_totalsucceeded"], counted["ops_task_workers"]) == (0, 1)


@pytest.mark.parametrize(
    "message", ["", "[]", "{}", '{"body": "!"}', published({"no": "type"}), published(event("x"))[:-9]]
)
def test_a_message_that_cannot_be_read_is_no_event(events: tasks.Events, message: str) -> None:
    events.note("/0.celeryev/x", message)
    assert not any(value for name, value in measured(events).items() if name.startswith("ops_task"))


def test_the_age_of_the_scheduled_task_is_since_a_worker_received_that_one(
    events: tasks.Events, now: list[float]
) -> None:
    now[0] += 50
    events.note("/0.celeryev/task.multi", published(event("task-received", name="shop.other")))
    assert measured(events)["ops_scheduled_task_age_secondsshop.tidy"] == 50
    events.note("/0.celeryev/task.multi", published(event("task-received", name="shop.tidy")))
    assert measured(events)["ops_scheduled_task_age_secondsshop.tidy"] == 0


class Answers:
    """A Redis that has these answers, by command."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def ask(self, *words: str) -> Any:
        answer = self.answers[words[0]]
        return answer.get(words[1], 0) if isinstance(answer, dict) else answer


def test_queues_are_those_that_redis_names_and_all_priorities_wait_in_them() -> None:
    end = tasks.SEPARATOR
    bound = {
        "_kombu.binding.celery": [f"celery{end}{end}celery"],
        "_kombu.binding.mail": [f"mail{end}{end}mail", f"x{end}{end}mail"],
        "_kombu.binding.celery.pidbox": [f"{end}{end}celery@a.celery.pidbox"],
    }
    waiting = {"celery": 2, f"celery{end}3": 1, "mail": 5}
    redis: Any = Answers(SCAN=["0", list(bound)], SMEMBERS=bound, LLEN=waiting, HLEN=4)
    found = {(name, labels.get("queue")): value for name, labels, value in tasks.Queues().measured(redis)}
    assert found == {("ops_queue_tasks", "celery"): 3, ("ops_queue_tasks", "mail"): 5, ("ops_tasks_taken", None): 4}


def test_a_scan_of_a_redis_that_is_huge_ends() -> None:
    redis: Any = Answers(SCAN=["7", []])
    assert list(tasks.names(redis)) == []


class Socket:
    """A connection that has one answer, and keeps what was sent."""

    def __init__(self, answer: bytes) -> None:
        self.answer, self.sent = answer, b""

    def makefile(self, _: str) -> io.BytesIO:
        return io.BytesIO(self.answer)

    def sendall(self, sent: bytes) -> None:
        self.sent += sent

    def close(self) -> None:
        """Close nothing."""


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], Socket]:
    def answer(answer: bytes) -> Socket:
        own = Socket(answer)
        monkeypatch.setattr(socket, "create_connection", lambda *_: own)
        return own

    return answer


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (b":12\r\n", 12),
        (b"+OK\r\n", "OK"),
        (b"$4\r\na\r\nb\r\n", "a\r\nb"),
        (b"$-1\r\n", None),
        (b"*2\r\n$1\r\n0\r\n*1\r\n$1\r\nk\r\n", ["0", ["k"]]),
    ],
)
def test_answers_of_redis(answering: Callable[[bytes], Socket], answer: bytes, read: object) -> None:
    own = answering(answer)
    with Redis("redis", 6379) as redis:
        assert redis.ask("LLEN", "é") == read
    assert own.sent == b"*2\r\n$4\r\nLLEN\r\n$2\r\n\xc3\xa9\r\n"


@pytest.mark.parametrize("answer", [b"-NOAUTH Authentication required.\r\n", b""])
def test_what_redis_refuses_is_an_error(answering: Callable[[bytes], Socket], answer: bytes) -> None:
    answering(answer)
    with Redis("redis", 6379) as redis, pytest.raises(OSError, match="Redis"):
        redis.ask("PING")
