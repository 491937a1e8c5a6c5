"""Halt the processes of containers again and again for a moment, so that every answer comes late.

`inv monitor.verify` runs this text by `python -c` in a container that sees the host's processes. Its words: for how
many seconds, how long they are halted each time, how long they run after it, and the ids of the containers. It lives on
the host and lets them run at its end, whatever becomes of who started it; for no seconds it only lets them run.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path


def members(containers: Sequence[str]) -> Iterator[int]:
    """Yield the processes of containers, by their control groups."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            group = (place / "cgroup").read_text()
        except OSError:
            continue
        if any(container in group for container in containers):
            yield int(place.name)


def halt(seconds: float, halted: float, runs: float, containers: Sequence[str]) -> None:
    """Halt what is there now; what starts meanwhile, as a health check does, is let be."""
    first = set(members(containers))

    def send(number: int) -> None:
        for process in first & set(members(containers)):  # a number may have become somebody else's
            with suppress(ProcessLookupError):
                os.kill(process, number)

    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            send(signal.SIGSTOP)
            time.sleep(halted)
            send(signal.SIGCONT)
            time.sleep(runs)
    finally:
        send(signal.SIGCONT)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    SECONDS, HALTED, RUNS, *CONTAINERS = sys.argv[1:]
    halt(float(SECONDS), float(HALTED), float(RUNS), CONTAINERS)
