"""Count what the edge answers, by its log."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from contextlib import suppress

from monitoring.programs.engine import ask, printed

FURTHEST = 60  # seconds of the log that are read at once
CLASSES = ("2xx", "3xx", "4xx", "5xx")
BOUNDS = (0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, math.inf)  # seconds


class EdgeLog:
    """Counts what the edge answers, by its log; the maintenance page is no error."""

    def __init__(self) -> None:
        self.counts, self.last, self.since = Counter[str](), "", time.time()
        self.within = Counter[float]()  # requests by each bound that they kept to

    def read(self, edge: str) -> None:
        """Count what was answered since the last time, a minute at most.

        What is older, after a while in which nobody asked or the engine did not answer, is not counted: a busy edge
        would have more of it each time than can be read before the answer is due.
        """
        begun = time.time()
        since = max(self.since, begun - FURTHEST)
        lines = list(printed(ask(f"/containers/{edge}/logs?stdout=1&timestamps=1&since={since:.3f}")))
        for written, words in lines:
            status, seconds = answered(words) if written > self.last else (0, None)
            if status:
                self.counts[f"{status // 100}xx"] += 1
            if seconds is not None:
                self.within.update(bound for bound in BOUNDS if seconds <= bound)
        self.last = max([self.last, *(written for written, _ in lines)])
        self.since = begun - 2  # the engine's clock is ours; a line that was counted is recognized by its time


def answered(line: str) -> tuple[int, float | None]:
    """Read the status off a line of the edge's log, and the seconds that the app took. Pure.

    The status is 0 for other lines and pages that are no answer of the app; the time None where the app was not asked,
    and for a WebSocket, which lasts as long as it likes.
    """
    status, seconds = 0, None
    with suppress(ValueError, TypeError, AttributeError, KeyError):
        request = json.loads(line)
        status = 0 if request.get("page") else int(request.get("status", 0))
        seconds = float(request["upstream_seconds"]) if status not in (0, 101) else None
    return status, seconds
