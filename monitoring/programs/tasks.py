"""Say over HTTP how Celery's queues, workers and tasks are, from its Redis alone: metrics for Prometheus.

A queue is a list in Redis, and `_kombu.binding.*` names the lists that there are. What workers do they publish as
events: that they live every other second, of each task once the app has them on (`worker_send_task_events`).
https://docs.celeryq.dev/en/stable/userguide/monitoring.html#event-reference
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from monitoring.programs.exposition import rendered
from monitoring.programs.redis import Redis

PORT = 9103
EVENTS, BINDINGS, SEPARATOR = "/*.celeryev/*", "_kombu.binding.", "\x06\x16"
OWN = ("celeryev", "celery.pidbox", "reply.celery.pidbox")  # exchanges by which Celery talks to itself
PRIORITIES = ("", *(f"{SEPARATOR}{step}" for step in (3, 6, 9)))  # each has a list of its own
ENDED = ("succeeded", "failed", "rejected", "revoked")
COUNTED = ("received", "retried", *ENDED)
ALIVE = 15.0  # seconds for which a worker's last sign of life counts
LISTED = 60.0  # seconds for which the names of queues are believed
ROUNDS = 100  # of a scan, a thousand keys each: a cache of millions of keys is not read to its end
METRICS = {
    "ops_queue_tasks": "tasks that wait in a queue, of all priorities",
    "ops_tasks_taken": "tasks that workers have taken and not acknowledged",
    "ops_task_workers": "workers that gave a sign of life within 15 s",
    "ops_tasks_total": "what workers did with tasks since this program started, by event",
    "ops_scheduled_task_age_seconds": "since a worker received the task that the scheduler sends again and again",
}
Rows = Iterator[tuple[str, dict[str, str], float]]


class Events:
    """What workers have published, since somebody listens."""

    def __init__(self, scheduled: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.scheduled, self.clock, self.lock = scheduled, clock, threading.Lock()
        self.seen, self.counts = dict[str, float](), Counter[str]()
        self.database, self.received, self.listening = 0, clock(), False

    def note(self, channel: str, message: str) -> None:
        """Note what a message has: one event, or several; one that cannot be read is none."""
        with suppress(ValueError, LookupError, TypeError, AttributeError), self.lock:
            self.database = int(channel[1:].partition(".")[0])
            events = json.loads(base64.b64decode(json.loads(message)["body"]))
            for event in events if isinstance(events, list) else [events]:
                self.happened(str(event["type"]), str(event["hostname"]), event)

    def happened(self, kind: str, worker: str, event: dict[str, Any]) -> None:
        """Note one event."""
        what, _, did = kind.partition("-")
        self.counts[did] += what == "task"
        self.seen[worker] = self.clock()
        if kind == "worker-offline":
            del self.seen[worker]
        if kind == "task-received" and event.get("name") == self.scheduled:
            self.received = self.clock()

    def listen(self, connect: Callable[[], Redis]) -> None:
        """Listen until the connection is lost; raise OSError then."""
        with connect() as redis:
            redis.send("PSUBSCRIBE", EVENTS)
            redis.read()
            self.listening = True
            redis.wait()
            try:
                while True:
                    _, _, channel, message = redis.read()
                    self.note(channel, message)
            finally:
                self.listening = False

    def measured(self) -> Rows:
        """Yield what there is to say; of workers nothing while nobody listens."""
        with self.lock:
            now = self.clock()
            self.seen = {worker: last for worker, last in self.seen.items() if now - last < ALIVE}
            if self.listening:
                yield "ops_task_workers", {}, len(self.seen)
            for event in COUNTED:
                yield "ops_tasks_total", {"event": event}, self.counts[event]
            if self.scheduled and self.listening:
                yield "ops_scheduled_task_age_seconds", {"task": self.scheduled}, now - self.received


class Queues:
    """The lists in which tasks wait."""

    def __init__(self) -> None:
        self.names, self.listed = list[str](), -LISTED

    def measured(self, redis: Redis) -> Rows:
        """Count what waits in each, and what is taken."""
        if time.monotonic() - self.listed > LISTED:
            self.names, self.listed = list(names(redis)), time.monotonic()
        for name in self.names:
            waiting = sum(redis.ask("LLEN", f"{name}{priority}") for priority in PRIORITIES)
            yield "ops_queue_tasks", {"queue": name}, waiting
        yield "ops_tasks_taken", {}, redis.ask("HLEN", "unacked")


def names(redis: Redis) -> Iterator[str]:
    """Name the queues that were ever declared, but for Celery's own."""
    keys, cursor = set[str](), "0"
    for _ in range(ROUNDS):
        cursor, found = redis.ask("SCAN", cursor, "MATCH", f"{BINDINGS}*", "COUNT", "1000")
        keys |= {*found}
        if cursor == "0":
            break
    exchanges = sorted(keys - {f"{BINDINGS}{own}" for own in OWN})
    bound = {member.split(SEPARATOR)[-1] for key in exchanges for member in redis.ask("SMEMBERS", key)}
    yield from sorted(bound)


class Answer(BaseHTTPRequestHandler):
    """Answers Prometheus; without what cannot be seen, which a rule misses."""

    events: Events
    queues = Queues()
    lock = threading.Lock()
    connect: Callable[[], Redis]

    def do_GET(self) -> None:  # the library chose the name
        """Answer with every metric."""
        rows = list(self.events.measured())
        with suppress(OSError, ValueError, TypeError), self.lock, type(self).connect() as redis:
            redis.ask("SELECT", str(self.events.database))
            rows += self.queues.measured(redis)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(rendered(rows, METRICS).encode())

    def log_message(self, *_: object) -> None:
        """Print nothing of each question."""


def listen(events: Events, connect: Callable[[], Redis]) -> None:
    """Listen again and again; never ends."""
    while True:
        with suppress(OSError, ValueError, TypeError):
            events.listen(connect)
        time.sleep(1)


if __name__ == "__main__":
    place, _, port = os.environ["REDIS"].rpartition(":")
    Answer.events, Answer.connect = (
        Events(os.environ.get("SCHEDULED", "")),
        staticmethod(lambda: Redis(place, int(port))),
    )
    threading.Thread(target=listen, args=(Answer.events, Answer.connect), daemon=True).start()
    ThreadingHTTPServer(("", PORT), Answer).serve_forever()
