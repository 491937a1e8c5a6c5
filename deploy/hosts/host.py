"""What any host can do, this machine or one over SSH: run programs, keep files, answer on its own loopback."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from deploy.core.errors import CommandFailed, Interrupted
from deploy.core.shell import Command, Result, command
from deploy.hosts.engine import Engine

# what a guard ends with and says, once the lock is another's
GUARDED, LOST = 75, "the lock was lost"


class Process(Protocol):
    """A program that runs on a host, as `subprocess.Popen` has it."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Where its input goes; None unless it was opened to be fed."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """What it prints, both streams as one."""

    @property
    def returncode(self) -> int | None:
        """Its exit code; None while nobody has waited for its end."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit code. Raises TimeoutError or subprocess.TimeoutExpired."""

    def terminate(self) -> None:
        """Ask it to end."""

    def __enter__(self) -> Process:
        """Begin to read what it prints."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close its streams and wait for its end."""


class Host(ABC):
    """A machine that runs an environment. Whatever fails at a file raises OSError, as it would here."""

    name: str
    front: Host | None = None  # the one whose edge serves what runs here, where that is another
    followed = sys.maxsize  # programs that may run on and on at once, with others beside them
    guard: tuple[str, ...] = ()  # words in front of every command, which refuse it once the lock is lost

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """The host's Docker engine."""

    def unlock(self) -> None:  # noqa: B027  # nobody asks who we are here
        """Have what shows who we are ready, before threads begin; a person may be asked for a passphrase."""

    def close(self) -> None:  # noqa: B027  # this machine has nothing to close
        """End the connection, where there is one; whatever wants it fails until it is renewed."""

    def renew(self) -> bool:
        """Forget a connection that has ended, so that the next use makes another; tell whether there was one."""
        return False

    def typed(self, line: str) -> str:
        """Return what a person types here to run a line there."""
        return line

    @abstractmethod
    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        """Run a command to its end, whatever its exit code.

        Raises Refused when the program is not installed, CommandFailed when it takes longer than `timeout` seconds.
        """

    def run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> str:
        """Run a command and return what it printed; raise CommandFailed unless it ended with 0."""
        done = self.try_run(command, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise CommandFailed(str(command), done.returncode, done.output, self.name)
        return done.stdout

    def heed(self, code: int, said: str) -> None:
        """Raise Interrupted when a command was refused by its guard."""
        if self.guard and code == GUARDED and LOST in said:
            raise Interrupted(LOST, where=self.name, then="inv status shows who has it now; inv resume goes on, inv abort goes back")

    @abstractmethod
    def open(self, command: Command, *, fed: bool = False) -> Process:
        """Start a command whose output is read while it runs; with `fed` its input is written meanwhile."""

    @abstractmethod
    def follow(self, command: Command) -> int:
        """Run a command with this terminal, or this standard input, as its own; return its exit code."""

    @abstractmethod
    def write(self, path: Path, text: str, *, mode: int = 0o644) -> None:
        """Write a file so that a reader, or a crash, sees the old text or the new, never half of one.

        Folders that are missing are made, others may enter them: the edge reads its own under another account.
        """

    @abstractmethod
    def append(self, path: Path, line: str) -> None:
        """Add one line to a file and have it on disk before returning; a last line that a crash cut short goes first."""

    @abstractmethod
    def read(self, path: Path) -> str | None:
        """Read a file; None when there is none."""

    @abstractmethod
    def names(self, folder: Path) -> list[str]:
        """List what a folder holds; nothing when there is none."""

    @abstractmethod
    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with everything in it; one that is not there is fine."""

    @abstractmethod
    def point(self, link: Path, target: str) -> None:
        """Make a symbolic link name another target, in one step."""

    @abstractmethod
    def pointed(self, link: Path) -> str | None:
        """Read what a symbolic link names; None when there is none."""

    @abstractmethod
    def free_bytes(self, path: Path) -> int:
        """Tell how many bytes are free where a path is, or will be."""

    def free_memory(self) -> int:
        """Tell how many bytes of memory new programs can have without others being swapped out or killed."""
        lines = (self.read(Path("/proc/meminfo")) or "").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))

    def now(self) -> str:
        """Tell what the host's clock says: ISO 8601, UTC, to the second."""
        return self.run(command("date", "--utc", "+%Y-%m-%dT%H:%M:%SZ")).strip()

    @abstractmethod
    def port_is_free(self, address: str, port: int) -> bool:
        """Tell whether nothing listens on a TCP port of this host."""

    @abstractmethod
    def get(self, port: int, path: str, *, host: str = "localhost", timeout: float = 2) -> tuple[int, str]:
        """Ask the host's own loopback over a new connection; return status and body, 0 when nothing answered."""
