"""Poll for a condition; a fixed sleep is a bug."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(ready: Callable[[], bool], seconds: float, *, pause: float = 0.1) -> bool:
    """Ask again and again until something is true; False when it was not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
    return True
