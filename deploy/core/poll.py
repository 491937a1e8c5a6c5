"""Poll for a condition; a fixed sleep is a bug."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator


def poll(seconds: float, *, pause: float = 0.1) -> Iterator[None]:
    """Yield at once, then after each pause, until `seconds` are over; whoever has seen enough breaks off."""
    deadline = time.monotonic() + seconds
    yield
    while time.monotonic() < deadline:
        time.sleep(pause)
        yield


def wait_until(ready: Callable[[], bool], seconds: float, *, pause: float = 0.1) -> bool:
    """Ask again and again until something is true; False when it was not within `seconds`."""
    return any(ready() for _ in poll(seconds, pause=pause))
