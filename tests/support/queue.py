"""A queue that is never empty.

Short tasks and long ones, each counted in the database when it starts and when it ends.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

SHORT = 0.1


@dataclass
class Queue:
    """Posts tasks through the edge until it is stopped; only what was accepted with 202 counts."""

    port: int
    address: str = "127.0.0.1"
    short_every: float = 0.5
    long: float = 8.0  # seconds; the bench has 30
    long_every: float = 20.0
    accepted: dict[str, float] = field(default_factory=dict)  # task -> time of day
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Queue:
        self._thread = threading.Thread(target=self._fill)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _fill(self) -> None:
        long_due = time.monotonic()
        while not self._over.wait(self.short_every):
            self.post(SHORT)
            if time.monotonic() >= long_due:
                self.post(self.long)
                long_due += self.long_every

    def post(self, seconds: float) -> None:
        """Queue one task."""
        task = str(uuid.uuid4())
        if self.ask("POST", {"id": task, "seconds": seconds})[0] == 202:
            self.accepted[task] = time.time()

    def ask(self, method: str, body: object = None) -> tuple[int, bytes]:
        """Send one request; 0 when it was not answered."""
        connection = http.client.HTTPConnection(self.address, self.port, timeout=15)
        try:
            connection.request(method, "/api/debug/tasks", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        except OSError as error:
            return 0, str(error).encode()
        finally:
            connection.close()

    def verdict(self, within: float = 180) -> tuple[list[str], list[str]]:
        """Wait until every accepted task has ended.

        Return those that never did, with what is known, and those that ran more than once.
        """
        deadline = time.monotonic() + within
        while True:
            rows = json.loads(self.ask("GET")[1])
            ended = {row["id"] for row in rows if row["finished_at"]}
            lost = [task for task in self.accepted if task not in ended]
            if not lost or time.monotonic() > deadline:
                runs = Counter(row["id"] for row in rows)
                began = {row["id"]: f"begun at {row['started_at']} by {row['release']}" for row in rows}
                notified = [
                    f"{task}, taken at {self.accepted[task]:.1f}, {began.get(task, 'never begun')}" for task in lost
                ]
                return notified, [task for task in self.accepted if runs[task] > 1]
            time.sleep(1)
