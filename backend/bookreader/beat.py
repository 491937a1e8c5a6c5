"""Schedule the periodic work from one process at a time."""

from contextlib import suppress
from typing import Any

from celery.beat import ScheduleEntry, Scheduler
from redis import RedisError

from bookreader.broker import redis
from bookreader.paths import BEAT_ALIVE

LOCK = "bookreader:beat"
# Longer than sending takes at its slowest: two attempts of 5 s with two reconnections of 8 s (broker.py).
LOCK_SECONDS = 30.0
WAIT_SECONDS = 1.0


class OneBeat(Scheduler):
    """Keep the schedule in memory, and tick only while holding a lock in Redis."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.lock = redis.lock(LOCK, timeout=LOCK_SECONDS)
        super().__init__(*args, **kwargs)

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Run what is due, or wait for the other scheduler to stop."""
        BEAT_ALIVE.touch()
        return float(super().tick(*args, **kwargs)) if self.has_turn() else WAIT_SECONDS

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        """Send one due task, unless the turn was lost since the tick began: connecting may take minutes."""
        if self.has_turn():
            super().apply_entry(entry, producer)

    def has_turn(self) -> bool:
        """Take the lock or keep it; without Redis nothing could be scheduled anyway."""
        try:
            return self.lock.reacquire() if self.lock.owned() else bool(self.lock.acquire(blocking=False))
        except RedisError:
            return False

    def close(self) -> None:
        """Let the next scheduler start at once."""
        with suppress(RedisError):
            self.lock.release()
        super().close()
