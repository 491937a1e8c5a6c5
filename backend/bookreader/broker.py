"""Configure Celery and Redis: what the web processes, the worker and the scheduler share."""

import json
import logging
from contextlib import suppress
from uuid import UUID

from celery import Celery
from kombu.exceptions import OperationalError
from redis import Redis, RedisError

from bookreader import logs
from bookreader.settings import settings

PROGRESS = "bookreader:progress"
PARSE_BOOK = "bookreader.parse_book"
TIDY_SHELF = "bookreader.tidy_shelf"
DEBUG_TASK = "bookreader.debug_task"

redis = Redis.from_url(settings().redis_url, socket_timeout=2, socket_connect_timeout=2)

celery = Celery("bookreader", broker=settings().redis_url, set_as_current=False)
celery.conf.update(
    beat_max_loop_interval=5,
    beat_schedule={TIDY_SHELF: {"task": TIDY_SHELF, "schedule": 60.0, "options": {"expires": 50}}},
    beat_scheduler="bookreader.beat:OneBeat",
    broker_connection_retry_on_startup=True,
    # A task lives 105 s at most (below), and waits a minute at most between attempts: a message that was not
    # acknowledged for 300 s belongs to a worker that is gone, and none is delivered again while it runs.
    broker_transport_options={
        "visibility_timeout": 300,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "socket_timeout": 5,
    },
    task_acks_late=True,
    task_ignore_result=True,
    task_publish_retry_policy={"max_retries": 1, "interval_start": 0.1},
    task_reject_on_worker_lost=True,
    # Below the stop_grace_period of the worker (120 s, docker/compose.app.yml): when it is told to stop, what
    # runs in it ends before it would be killed.
    task_soft_time_limit=90,
    task_time_limit=105,
    worker_cancel_long_running_tasks_on_connection_loss=True,
    worker_concurrency=2,
    worker_consumer="bookreader.consumer:PatientConsumer",
    worker_max_memory_per_child=400_000,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
)


def queue(book_id: UUID) -> None:
    """Ask a worker to parse a book; when Redis is away the scheduler asks again later."""
    try:
        celery.send_task(PARSE_BOOK, [str(book_id)], headers={logs.FIELD: logs.request.get()})
    except (OperationalError, RedisError) as error:
        logging.getLogger(__name__).warning("book %s waits for the scheduler: %s", book_id, error)


def publish(book_id: UUID, state: str, progress: int) -> None:
    """Tell every open browser how far a book has come; the database holds the truth."""
    event = {"type": "progress", "book": str(book_id), "state": state, "progress": progress}
    with suppress(RedisError):
        redis.publish(PROGRESS, json.dumps(event))
