"""Tell a deploy about the tasks, and stop this container's worker from taking more.

`python -m bookreader.tasks known|pending|failed|quiet|resume`
"""

import json
import sys
from collections.abc import Iterable
from typing import Any

from kombu.exceptions import OperationalError
from kombu.transport.redis import Channel
from redis import RedisError

from bookreader import broker, failures
from bookreader.paths import WORKER_NAME

# The worker answers between two rounds of its loop; a message that meets a lost connection is never answered.
ANSWER_SECONDS = 2
ATTEMPTS = 5


def main(arguments: list[str]) -> None:
    """Run one command; 1 and one line say that it could not be done."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        sys.exit(f"usage: python -m bookreader.tasks {'|'.join(COMMANDS)}")
    try:
        for line in COMMANDS[arguments[0]]():
            print(line)
    except (OperationalError, RedisError) as error:
        sys.exit(f"bookreader: Redis cannot be asked: {error}")


def known() -> Iterable[str]:
    """Name the tasks that this code can run; nothing is asked for it."""
    from bookreader import worker

    return sorted(name for name in worker.app.tasks if name.startswith("bookreader."))


def pending() -> Iterable[str]:
    """Name the tasks that wait, run or are kept for later.

    Tasks are acknowledged when they are done, so each of them is in a queue or in the hash of unacknowledged
    messages. No worker needs to be asked: one that is cut off could not answer, yet its tasks will run again.
    """
    at_once: Any = broker.redis.pipeline()  # redis leaves out the types
    for queue in broker.celery.amqp.queues:
        for priority in Channel.priority_steps:
            at_once.lrange(f"{queue}{Channel.sep}{priority}" if priority else queue, 0, -1)
    *queues, unacked = at_once.hvals(Channel.unacked_key).execute()
    messages = [json.loads(message) for queue in queues for message in queue]
    messages += [json.loads(kept)[0] for kept in unacked]
    return sorted({message["headers"]["task"] for message in messages})


def failed() -> Iterable[str]:
    """Count the tasks that failed for good on this release's workers."""
    return [str(failures.count())]


def quiet() -> Iterable[str]:
    """Have the worker take no more tasks; those that run go on."""
    return [tell_worker("bookreader.quiet")]


def resume() -> Iterable[str]:
    """Have the worker take tasks again."""
    return [tell_worker("bookreader.resume")]


def tell_worker(command: str) -> str:
    """Send a command to the one worker in this container, until it confirms."""
    if not WORKER_NAME.exists():
        sys.exit("bookreader: there is no worker in this container")
    name = WORKER_NAME.read_text()
    for _ in range(ATTEMPTS):
        broker.redis.ping()  # fails at once, where Celery would wait for Redis without end
        answers = broker.celery.control.broadcast(
            command, destination=[name], reply=True, timeout=ANSWER_SECONDS
        )
        for answer in answers or []:
            if "ok" in answer[name]:
                return f"{name}: {answer[name]['ok']}"
    sys.exit(f"bookreader: {name} does not answer")


COMMANDS = {"known": known, "pending": pending, "failed": failed, "quiet": quiet, "resume": resume}

if __name__ == "__main__":
    main(sys.argv[1:])
