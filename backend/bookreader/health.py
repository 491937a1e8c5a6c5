"""Check this container's health in a moment: `python -m bookreader.health [web|worker|beat]`.

This runs every few seconds, so what it imports counts: http.client alone costs more than Python itself.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bookreader.paths import BEAT_ALIVE, WORKER_ALIVE

ANSWER_SECONDS = 4
SILENT_SECONDS = 20


def main(arguments: list[str]) -> None:
    """Exit 0 when healthy, else 1 with the reason."""
    role = arguments[0] if arguments else "web"
    if role not in CHECKS or len(arguments) > 1:
        sys.exit(f"usage: python -m bookreader.health [{'|'.join(CHECKS)}]")
    sys.exit(CHECKS[role]() or 0)


def check_web() -> str:
    """Ask the server whether it is ready, and return what it lacks."""
    address = ("127.0.0.1", int(os.environ.get("PORT") or 8000))
    try:
        with socket.create_connection(address, timeout=ANSWER_SECONDS) as connection:
            connection.sendall(b"GET /ready HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(partial(connection.recv, 65536), b"")).decode(errors="replace")
    except OSError as error:
        return f"the server does not answer: {error}"
    head, _, body = answer.partition("\r\n\r\n")
    return "" if head.split()[1:2] == ["200"] else body[:2000] or "the server's answer is no HTTP"


def check_file(alive: Path) -> str:
    """Return a complaint when the process has not touched its file for a while."""
    try:
        silent = time.time() - alive.stat().st_mtime
    except FileNotFoundError:
        return f"{alive} is not there yet"
    return "" if silent < SILENT_SECONDS else f"{alive} was last touched {silent:.0f} s ago"


CHECKS: dict[str, Callable[[], str]] = {
    "web": check_web,
    "worker": partial(check_file, WORKER_ALIVE),
    "beat": partial(check_file, BEAT_ALIVE),
}

if __name__ == "__main__":
    main(sys.argv[1:])
