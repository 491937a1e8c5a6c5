"""One operator at a time: a flock that the kernel frees when its holder dies."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy.errors import Locked
from deploy.state import now


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
            raise Locked(describe(file.read()), where=str(path), then="wait for it to end") from None
        file.truncate(0)
        file.write(json.dumps({"who": who(), "pid": os.getpid(), "command": command, "since": now()}))
        file.flush()
        yield
        file.truncate(0)


def describe(holder: str) -> str:
    """Say who holds the lock."""
    try:
        known = json.loads(holder)
        return f"locked by {known['who']} (process {known['pid']}): {known['command']} since {known['since']}"
    except (ValueError, KeyError, TypeError):
        return "locked by another operator"
