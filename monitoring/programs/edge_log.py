"""Count what the edge answers, by its log."""

from __future__ import annotations

import json
import time
from collections import Counter
from contextlib import suppress

from monitoring.programs.engine import ask, printed

FURTHEST = 60  # seconds of the log that are read at once
CLASSES = ("2xx", "3xx", "4xx", "5xx")


class EdgeLog:
    """Counts what the edge answers, by its log; the maintenance page is no error."""

    def __init__(self) -> None:
        self.counts, self.last, self.since = Counter[str](), "", time.time()

    def read(self, edge: str) -> None:
        """Count what was answered since the last time, a minute at most.

        What is older, after a while in which nobody asked or the engine did not answer, is not counted: a busy edge
        would have more of it each time than can be read before the answer is due.
        """
        begun = time.time()
        since = max(self.since, begun - FURTHEST)
        lines = list(printed(ask(f"/containers/{edge}/logs?stdout=1&timestamps=1&since={since:.3f}")))
        for written, words in lines:
            if written > self.last and (status := answered(words)):
                self.counts[f"{status // 100}xx"] += 1
        self.last = max([self.last, *(written for written, _ in lines)])
        self.since = begun - 2  # the engine's clock is ours; a line that was counted is recognized by its time


def answered(line: str) -> int:
    """Read the status off a line of the edge's log; 0 for other lines and pages that are no answer of the app. Pure."""
    with suppress(ValueError, TypeError, AttributeError):
        request = json.loads(line)
        return 0 if request.get("page") else int(request.get("status", 0))
    return 0
