"""Give a test a Redis database of its own, to queue tasks in and to see what becomes of them."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

from celery import Celery
from redis import Redis
from sqlalchemy import select

from bookreader.broker import DEBUG_TASK
from bookreader.database import sessions
from bookreader.models import TaskRun

NUMBER = 7  # any database that the other tests leave alone


class Line:
    """A broker without workers yet."""

    def __init__(self) -> None:
        parts = urlsplit(os.environ["REDIS_URL"])
        self.host, self.port = parts.hostname or "127.0.0.1", parts.port or 6379
        self.url = parts._replace(path=f"/{NUMBER}").geturl()
        self.redis: Any = Redis.from_url(self.url, decode_responses=True)
        self.celery = Celery("tests", broker=self.url, set_as_current=False)

    def through(self, address: str) -> str:
        """Return the broker's URL by way of another address."""
        return urlsplit(self.url)._replace(netloc=address).geturl()

    def sleeper(self, seconds: float = 0.0, **options: Any) -> UUID:
        """Queue a debug task."""
        made = uuid4()
        self.celery.send_task(DEBUG_TASK, [str(made), seconds], task_id=str(made), **options)
        return made

    def waiting(self) -> list[dict[str, Any]]:
        """Return the messages that no worker has, the newest first."""
        return [json.loads(message) for message in self.redis.lrange("celery", 0, -1)]

    def unacknowledged(self) -> list[dict[str, Any]]:
        """Return the messages that workers have."""
        return [json.loads(kept)[0] for kept in self.redis.hvals("unacked")]

    def empty(self) -> bool:
        """Tell whether every task is done."""
        return not self.redis.exists("celery", "unacked")

    def inspect(self, what: str) -> dict[str, list[Any]]:
        """Ask every worker."""
        with self.celery.connection_for_write() as connection:
            return getattr(self.celery.control.inspect(connection=connection), what)() or {}

    def hang_up(self) -> None:
        """Break every connection to this database but the own one, as a restart of Redis does."""
        own = self.redis.client_id()
        for client in self.redis.client_list():
            if client["db"] == str(NUMBER) and client["id"] != str(own):
                self.redis.client_kill_filter(_id=client["id"])


def names(messages: list[dict[str, Any]]) -> list[str]:
    """Return what the messages ask for."""
    return [message["headers"]["task"] for message in messages]


def starts(*tasks: UUID) -> list[TaskRun]:
    """Return how often these tasks were started, in order."""
    with sessions() as db:
        return list(db.scalars(select(TaskRun).where(TaskRun.id.in_(tasks)).order_by(TaskRun.run)))


def once_each(*tasks: UUID) -> bool:
    """Tell whether each of these tasks ran to its end, and ran once."""
    runs = starts(*tasks)
    return Counter(run.id for run in runs) == Counter(tasks) and all(run.finished_at for run in runs)


@contextmanager
def line() -> Iterator[Line]:
    """Keep a broker for as long as the block lasts."""
    made = Line()
    made.redis.flushdb()
    try:
        yield made
    finally:
        made.redis.flushdb()
        made.celery.close()
