"""Count what failed for good on this release's workers, for those who watch a deploy."""

from contextlib import suppress
from typing import Any

from celery.signals import task_failure
from redis import RedisError

from bookreader.broker import redis
from bookreader.settings import settings

FAILED = f"bookreader:failed:{settings().release}"
UNKNOWN = f"bookreader:unknown:{settings().release}"
KEEP_SECONDS = 24 * 60 * 60


@task_failure.connect
def note_failure(**_: Any) -> None:
    """Count a task that raised or was killed, after its last attempt; a retry sends another signal."""
    with suppress(RedisError):
        redis.incr(FAILED)
        redis.expire(FAILED, KEEP_SECONDS)


def note_unknown(task_id: str) -> None:
    """Count a task that this release does not know, once, however often it comes back."""
    with suppress(RedisError):
        redis.sadd(UNKNOWN, task_id)
        redis.expire(UNKNOWN, KEEP_SECONDS)


def count() -> int:
    """Return how many there are; they are forgotten a day after the last one."""
    known: Any = redis.get(FAILED)  # the types of redis say that any answer may be awaited
    unknown: Any = redis.scard(UNKNOWN)
    return int(known or 0) + int(unknown)
