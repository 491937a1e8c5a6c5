"""What stands before every change on a host: the lock must still be ours."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

GUARDED, LOST = 75, "the lock was lost"  # what a guard ends with and says
# $0 the file that is locked meanwhile, $1 the holder, $2 its token, then a command, which keeps that lock until it ends
SCRIPT = """
exec {fd}<>"$0" && flock --shared {fd} && grep -qs "$2" "/proc/$1/cmdline" || {{ echo "{LOST}" >&2; exit {GUARDED}; }}
shift 2
exec "$@"
"""


@dataclass(frozen=True)
class Guard:
    """Refuses to change a host once a lock is lost; the next holder of that lock waits for commands that have begun."""

    changing: Path
    holder: int
    token: str
    descriptor: int = 8  # two locks that are held at once need two

    @property
    def words(self) -> tuple[str, ...]:
        """The words in front of a command."""
        script = SCRIPT.format(fd=self.descriptor, LOST=LOST, GUARDED=GUARDED)
        return "sh", "-c", script, str(self.changing), str(self.holder), self.token

    @contextmanager
    def entered(self) -> Iterator[bool]:
        """Do the same on this machine: keep the next holder waiting, and tell whether the lock is still ours."""
        try:
            descriptor = os.open(self.changing, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError:
            yield False
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield self.holds()
        finally:
            os.close(descriptor)

    def holds(self) -> bool:
        """Tell whether the holder runs on this machine, and is ours."""
        try:
            return self.token.encode() in Path(f"/proc/{self.holder}/cmdline").read_bytes()
        except OSError:
            return False
