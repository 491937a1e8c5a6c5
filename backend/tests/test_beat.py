"""There is one scheduler that ticks, whatever happens to the others and to Redis."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import pytest
from celery.beat import Scheduler

from bookreader.beat import LOCK, OneBeat
from bookreader.broker import celery, redis
from tests.line import Line, line
from tests.processes import Worker, scheduling, wait_for
from tests.proxy import wire


@pytest.fixture
def queue() -> Iterator[Line]:
    """Schedule into a queue that nobody empties."""
    with line() as made:
        yield made


@pytest.fixture
def two() -> Iterator[tuple[OneBeat, OneBeat]]:
    """Make two schedulers in this process."""
    redis.delete(LOCK)
    both = OneBeat(celery), OneBeat(celery)
    yield both
    for beat in both:
        beat.close()


def test_second_scheduler_waits_until_the_first_stops(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ExitStack() as second:
        with scheduling(tmp_path_factory.mktemp("first")):
            holder = wait_for(lambda: redis.get(LOCK))
            second.enter_context(scheduling(tmp_path_factory.mktemp("second")))
            assert redis.get(LOCK) == holder
        assert wait_for(lambda: redis.get(LOCK)) != holder


def test_turn_lost_while_connecting_schedules_nothing(
    two: tuple[OneBeat, OneBeat], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = two
    sent: list[OneBeat] = []
    monkeypatch.setattr(Scheduler, "apply_async", lambda beat, *_, **__: sent.append(beat))
    for beat in two:
        for entry in beat.schedule.values():
            entry.last_run_at = datetime.now(UTC) - timedelta(hours=1)

    def connect(beat: OneBeat) -> None:
        """Take so long that the lock expires meanwhile."""
        if beat is first:
            redis.delete(LOCK)
            assert second.has_turn()

    monkeypatch.setattr(OneBeat, "producer", property(connect))
    first.tick()
    assert sent == []
    second.tick()
    assert sent == [second]


def fast(queue: Line, tmp: Path, address: str = "") -> ExitStack:
    """Start a scheduler that ticks five times a second."""
    tmp.mkdir()
    stack = ExitStack()
    url = queue.through(address) if address else queue.url
    stack.enter_context(scheduling(tmp, "tests.fast_beat", REDIS_URL=url))
    return stack


def senders(queue: Line) -> list[str]:
    """Return who scheduled, the oldest first, each stretch once."""
    origins = [message["headers"]["origin"] for message in reversed(queue.waiting())]
    return [origin for origin, _ in groupby(origins)]


def grows(queue: Line, by: int = 5) -> None:
    """Wait until more was scheduled."""
    aim = len(queue.waiting()) + by
    wait_for(lambda: len(queue.waiting()) >= aim)


def test_cut_off_scheduler_comes_back_and_waits(queue: Line, tmp_path: Path) -> None:
    with wire(queue.host, queue.port) as cable, fast(queue, tmp_path / "first", cable.address):
        grows(queue)
        with fast(queue, tmp_path / "second"):
            grows(queue)
            cable.cut = True
            wait_for(lambda: len(senders(queue)) == 2)
            cable.mend()
            grows(queue, 30)
            assert len(senders(queue)) == 2
        grows(queue)  # the first has its turn again
    assert len(senders(queue)) == 3


def test_stopped_scheduler_comes_back_and_waits(queue: Line, tmp_path: Path) -> None:
    with ExitStack() as stack:
        both: list[Worker] = []
        for name in ("first", "second"):
            (tmp_path / name).mkdir()
            running = scheduling(tmp_path / name, "tests.fast_beat", REDIS_URL=queue.url)
            both.append(stack.enter_context(running))
        grows(queue)
        both[0].process.send_signal(signal.SIGSTOP)
        wait_for(lambda: len(senders(queue)) == 2)
        both[0].process.send_signal(signal.SIGCONT)
        grows(queue, 30)
        assert len(senders(queue)) == 2


def test_redis_that_restarts_makes_no_second_scheduler(queue: Line, tmp_path: Path) -> None:
    restarts = 6
    with fast(queue, tmp_path / "first"), fast(queue, tmp_path / "second"):
        for _ in range(restarts):
            grows(queue)
            queue.redis.delete(LOCK)  # not even the lock was saved
            queue.hang_up()
        grows(queue, 30)
    assert len(senders(queue)) <= restarts + 1
