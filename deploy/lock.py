"""One operator at a time: a flock that the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deploy.errors import Locked
from deploy.state import now
from deploy.wait import until


def who() -> str:
    """Name the operator: account and machine."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = str(os.getuid())
    return f"{account}@{socket.gethostname()}"


@contextmanager
def held(folder: Path, command: str) -> Iterator[None]:
    """Hold an environment's lock; raise Locked naming the holder when another has it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Locked(describe(file.read()), where=str(path), then="wait for it to end; inv unlock ends it") from None
        file.truncate(0)
        with suppress(OSError):  # on a full disk nobody can read who it is; it is held all the same, and inv prune needs it
            os.write(file.fileno(), json.dumps({"who": who(), "pid": os.getpid(), "command": command, "since": now()}).encode())
        yield
        file.truncate(0)


def holder(folder: Path) -> tuple[int, str] | None:
    """Return the process that holds the lock, and who that is; None when nobody does.

    The kernel's list is read: trying to take the lock would make another's attempt fail just then.
    """
    path = folder / "lock"
    if not path.exists():
        return None
    rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    if not any(row[1] == "FLOCK" and row[5].endswith(f":{path.stat().st_ino}") for row in rows):
        return None
    text = path.read_text()
    with suppress(ValueError):
        return int(json.loads(text)["pid"]), describe(text)
    return 0, describe(text)


def end(folder: Path, process: int) -> bool:
    """End the process that holds the lock: the kernel frees it then. Tell whether that came true within 10 s."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(process, number)
        if until(lambda: holder(folder) is None, 5):
            return True
    return False


def describe(holder: str) -> str:
    """Say who holds the lock."""
    try:
        known = json.loads(holder)
        return f"locked by {known['who']} (process {known['pid']}): {known['command']} since {known['since']}"
    except (ValueError, KeyError, TypeError):
        return "locked by another operator"
