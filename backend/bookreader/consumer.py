"""Leave messages to other workers: when told to be quiet, and when a task is unknown.

This runs in the worker's main process. Celery itself drops a task that it does not know, and keeps what it
fetched and has not begun when its `cancel_consumer` is used.
"""

import logging
from typing import Any

from celery.worker import state
from celery.worker.consumer import Consumer
from celery.worker.control import control_command
from celery.worker.request import Request
from kombu import Message

from bookreader.failures import note_unknown

# How long an unknown task is kept before it goes back to the queue, lest workers throw it to and fro. Each
# one kept adds to it: about fifty a second go back, however many there are.
KEEP_SECONDS = 2.0
KEEP_LONGER_SECONDS = 0.02

log = logging.getLogger(__name__)


class PatientConsumer(Consumer):
    """Put unknown tasks back, because a newer release's worker may know them."""

    qos: Any  # the types of Celery leave these out
    connection_errors: Any
    controller: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.kept = 0
        super().__init__(*args, **kwargs)

    def on_unknown_task(self, _: object, message: Message, exc: Exception) -> None:
        """Keep the message for a moment, without using up the prefetch limit, as Celery does with an ETA."""
        task_id = str(message.properties["correlation_id"])
        if not message.headers.get("redelivered"):
            log.warning("task %s (%s) is unknown here and goes back to the queue", exc, task_id)
        note_unknown(task_id)
        self.kept += 1
        self.qos.increment_eventually()
        self.timer.call_after(KEEP_SECONDS + KEEP_LONGER_SECONDS * self.kept, self.put_back, (message,))

    def put_back(self, message: Message) -> None:
        """Let any worker have the message."""
        self.kept -= 1
        self.qos.decrement_eventually()
        message.reject_log_error(log, self.connection_errors, requeue=True)

    def on_close(self) -> None:
        """Forget what was kept: with the connection lost, Redis hands it out again later."""
        self.kept = 0
        super().on_close()


@control_command(name="bookreader.quiet")
def quiet(panel: Any) -> dict[str, str]:
    """Stop consuming and give back what has not begun; the reply is sent when this is done."""
    consumer = panel.consumer
    for queue in list(consumer.app.amqp.queues.consume_from):
        consumer.cancel_task_queue(queue)
    for request in not_begun(consumer):
        request.message.reject_log_error(log, consumer.connection_errors, requeue=True)
        request.acknowledged = True  # it is another worker's now
        state.task_ready(request)
    return {"ok": "quiet"}


def not_begun(consumer: PatientConsumer) -> list[Request]:
    """Take out the tasks that wait for their time, and those that wait for a free process."""
    requests = []
    for _, _, entry in consumer.timer.queue:
        if entry.args and isinstance(entry.args[0], Request):
            entry.cancel()
            consumer.qos.decrement_eventually()
            requests.append(entry.args[0])
    waiting = consumer.controller.semaphore._waiting  # kombu shows them nowhere else
    requests += [arguments[0] for _, arguments, _ in waiting]
    waiting.clear()
    return requests


@control_command(name="bookreader.resume")
def resume(panel: Any) -> dict[str, str]:
    """Consume again."""
    consumer, queues = panel.consumer, panel.app.amqp.queues
    queues.select(list(queues))  # add_task_queue() alone is forgotten when the connection is lost
    for queue in queues:
        consumer.add_task_queue(queue)
    return {"ok": "consuming"}
