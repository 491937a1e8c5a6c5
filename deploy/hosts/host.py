"""What any host can do, this machine or one over SSH: run programs, keep files, answer on its own loopback."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from subprocess import TimeoutExpired
from types import TracebackType
from typing import IO, Protocol, TypeVar

from deploy.core.errors import CommandFailed, Interrupted
from deploy.core.shell import Command, Result, Script, command, plain, query
from deploy.hosts.engine import Engine
from deploy.hosts.guard import GUARDED, LOST, Guard
from deploy.hosts.stream import Stream, directly

T = TypeVar("T")
CHUNK = 1 << 20
# $0 a folder, then a command: of its output only what goes to stderr
STDERR_ONLY = 'cd "$0" && exec "$@" 2>&1 >/dev/null'


class Process(Protocol):
    """A program that runs on a host, as `subprocess.Popen` has it."""

    @property
    def stdin(self) -> IO[bytes] | None:
        """Where its input goes; None unless it was opened with `stdin_open`."""

    @property
    def stdout(self) -> IO[bytes] | None:
        """What it prints: both streams as one, or stdout alone where stderr is kept apart."""

    @property
    def error_output(self) -> str:
        """The end of what it printed to stderr, where that is kept apart; whole once it has ended."""

    @property
    def terminated(self) -> bool:
        """Tell whether it was asked to end."""

    @property
    def returncode(self) -> int | None:
        """Its exit code; None before `wait`."""

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; return its exit code. Raises TimeoutError or subprocess.TimeoutExpired."""

    def terminate(self) -> None:
        """Ask it to end."""

    def __enter__(self) -> Process:
        """Begin to read what it prints."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its streams and wait for its end."""


class Host(ABC):
    """A machine that runs an environment. Whatever fails at a file raises OSError, as it would here."""

    name: str
    front: Host | None = None  # the other host whose edge serves what runs here; None where this one has its own
    followable = sys.maxsize  # how many programs may run for long at once, and leave room for others
    guards: tuple[Guard, ...] = ()  # of the locks that are held: changes are refused once one of them is lost

    @property
    @abstractmethod
    def engine(self) -> Engine:
        """The host's Docker engine."""

    def unlock(self) -> None:  # noqa: B027  # this machine needs no login
        """Have the login key ready before threads begin: a person may be asked for its passphrase."""

    def close(self) -> None:  # noqa: B027  # this machine has nothing to close
        """End the connection, where there is one; its use fails until it is renewed."""

    def renew(self) -> bool:
        """Forget a connection that has ended, so that the next use makes another; tell whether there was one."""
        return False

    def connect_ahead(self) -> None:  # noqa: B027  # this machine is not connected to
        """Begin to connect while this process gets ready."""

    def remembering(self) -> AbstractContextManager[None]:
        """Ask each question once while this lasts, where questions take time: what is seen is of one moment."""
        return nullcontext()

    def fetch(self, folder: Path, patterns: Iterable[str]) -> None:  # noqa: B027  # files are near
        """Read files and links of a folder at once while this is `looking`, where each takes time."""

    def concurrently(self, *questions: Callable[[], T]) -> list[T]:
        """Call functions that do not depend on each other; over SSH all at once, since each waits for a round trip."""
        return [question() for question in questions]

    def command_line(self, line: str) -> str:
        """Return what a person types on this machine to run a line on the host."""
        return line

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        """Run a command to its end, whatever its exit code.

        Raises Refused when the program is not installed, CommandFailed when it takes longer than `timeout` seconds.
        """
        code, out, err = self.exchange(command, stdin=None if stdin is None else stdin.encode(), timeout=timeout)
        return Result(code, plain(out), plain(err))

    def run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> str:
        """Run a command and return what it printed; raise CommandFailed unless it ended with 0."""
        done = self.try_run(command, stdin=stdin, timeout=timeout)
        if done.returncode:
            raise CommandFailed(str(command), done.returncode, done.output, self.name, whole=done.whole)
        return done.stdout

    def exchange(
        self, command: Command, *, stdin: bytes | None = None, timeout: float = 600
    ) -> tuple[int, bytes, bytes]:
        """Run a command to its end as `try_run` does; return exit code, stdout, stderr."""
        code, out, err = self._exchange(command, self.guard(command), stdin=stdin, timeout=timeout)
        if command.changes:
            self.check_lock(code, plain(err))
        return code, out, err

    def guard(self, command: Command) -> tuple[str, ...]:
        """Return the words in front of a command that end it where a lock is lost; a query has none."""
        return tuple(word for guard in self.guards for word in guard.words) if command.changes else ()

    def check_lock(self, code: int, stderr: str) -> None:
        """Raise Interrupted when a command was refused by its guard."""
        if self.guards and code == GUARDED and LOST in stderr:
            raise self.lock_lost()

    def lock_lost(self) -> Interrupted:
        """Return the error for a lost lock, after which nothing is changed."""
        then = "inv status shows who has it now; inv resume goes on, inv abort goes back"
        return Interrupted(LOST, where=self.name, then=then, slug="lock-lost")

    def require_lock(self, act: Command) -> None:
        """Raise Interrupted where a command changes something and a lock is lost."""
        if self.guard(act):
            self.exchange(command("true"))

    def changing(self) -> AbstractContextManager[None]:
        """Change a file while the lock is ours; raise Interrupted once it is lost.

        Where programs keep the files, these are guarded.
        """
        return nullcontext()

    def open(self, command: Command, *, stdin_open: bool = False) -> Process:
        """Start a command whose output, both streams as one, is read while it runs.

        With `stdin_open` its input is written meanwhile.
        """
        self.require_lock(command)
        return self._open(command, self.guard(command), stdin_open=stdin_open)

    @contextmanager
    def stream(self, command: Command, *, stdin_open: bool = False) -> Iterator[Process]:
        """Start a command whose stdout alone is read while it runs, and wait for its end.

        With `stdin_open` its input is written meanwhile. Raises CommandFailed with its stderr unless it ends with 0,
        also where its end is why its input cannot be written. The code of one that was terminated here does not count.
        """
        self.require_lock(command)
        with self._open(command, self.guard(command), stdin_open=stdin_open, stderr_apart=True) as process:
            try:
                yield process
            except BaseException as error:
                if not (stdin_open and isinstance(error, OSError) and has_failed(process)):
                    process.terminate()
                    raise
            if not process.terminated:
                drain(process)
                process.wait()
        if process.returncode and not process.terminated:
            self.check_lock(process.returncode, process.error_output)
            raise CommandFailed(str(command), process.returncode, process.error_output.strip(), self.name)

    def watch(self, act: Command, on_line: Callable[[str], object], *, folder: Path = Path("/")) -> Result:
        """Run a command in a folder and hand over each line of its stderr as it comes.

        What it prints to stdout is dropped.
        """
        words = ("sh", "-c", STDERR_ONLY, str(folder), *act.argv)
        lines: list[str] = []
        with self.open(Script(words, act.environment, act.changes, (act,))) as process:
            for line in process.stdout or ():
                lines.append(line.decode(errors="backslashreplace"))
                on_line(lines[-1])
            code = process.wait()
        self.check_lock(code, "".join(lines[-1:]))
        return Result(code, "", "".join(lines))

    def follow(self, command: Command) -> int:
        """Run a command with this terminal, or this standard input, as its own; return its exit code."""
        self.require_lock(command)
        return self._follow(command, self.guard(command))

    def write(self, path: Path, text: str, *, mode: int = 0o644) -> None:
        """Write a text as `write_bytes` does."""
        self.write_bytes(path, text.encode(), mode=mode)

    def write_bytes(self, path: Path, data: bytes, *, mode: int = 0o644) -> None:
        """Write a file so that a reader, or a crash, sees the old contents or the new, never half of one.

        Folders that are missing are made, others may enter them: the edge reads its own under another account.
        """
        with self.changing():
            self._write(path, data, mode)

    def write_all(self, files: Mapping[Path, tuple[str, int]]) -> None:
        """Write texts with their modes as `write_bytes` does, one after the other; over SSH by one program."""
        for path, (text, mode) in files.items():
            self.write(path, text, mode=mode)

    def append(self, path: Path, line: str) -> None:
        """Add one line to a file and have it on disk before returning.

        A last line that a crash cut short goes first.
        """
        with self.changing():
            self._append(path, line)

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with everything in it; one that is not there is fine."""
        with self.changing():
            self._remove(path)

    def symlink(self, link: Path, target: str) -> None:
        """Make a symbolic link name another target, in one step."""
        with self.changing():
            self._symlink(link, target)

    def read(self, path: Path) -> str | None:
        """Read a text, line ends as they are; None when there is no such file."""
        data = self.read_bytes(path)
        return None if data is None else data.decode(errors="backslashreplace")

    @abstractmethod
    def _exchange(
        self, command: Command, guard: tuple[str, ...], *, stdin: bytes | None, timeout: float
    ) -> tuple[int, bytes, bytes]: ...  # fmt: skip

    @abstractmethod
    def _open(
        self, command: Command, guard: tuple[str, ...], *, stdin_open: bool, stderr_apart: bool = False
    ) -> Process: ...

    @abstractmethod
    def _follow(self, command: Command, guard: tuple[str, ...]) -> int: ...

    @abstractmethod
    def _write(self, path: Path, data: bytes, mode: int) -> None: ...

    @abstractmethod
    def _append(self, path: Path, line: str) -> None: ...

    @abstractmethod
    def _remove(self, path: Path) -> None: ...

    @abstractmethod
    def _symlink(self, link: Path, target: str) -> None: ...

    @abstractmethod
    def read_bytes(self, path: Path) -> bytes | None:
        """Read a file; None when there is none."""

    @abstractmethod
    def listdir(self, folder: Path) -> list[str]:
        """List what a folder holds; nothing when there is none."""

    @abstractmethod
    def readlink(self, link: Path) -> str | None:
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
        return self.run(query("date", "--utc", "+%Y-%m-%dT%H:%M:%SZ")).strip()

    @abstractmethod
    def port_is_free(self, address: str, port: int) -> bool:
        """Tell whether nothing listens on a TCP port of this host."""

    def connect(self, address: str, port: int, within: float) -> Stream:
        """Open a connection to an address of the environment, as one to this host goes; raise OSError where none is."""
        return directly(address, port, within)

    @abstractmethod
    def get(self, port: int, path: str, *, host: str = "localhost", timeout: float = 2) -> tuple[int, str]:
        """Ask the host's own loopback over a new connection; return status and body, 0 when nothing answered."""


def drain(process: Process) -> None:
    """Close a program's input and drop the rest of its output, so that it comes to its end."""
    with suppress(OSError):  # it has ended, and its code says how
        if process.stdin:
            process.stdin.close()
    while process.stdout and process.stdout.read(CHUNK):
        pass


def has_failed(process: Process) -> bool:
    """Tell whether a program has ended by itself, within a second, and not with 0."""
    with suppress(TimeoutError, TimeoutExpired):
        return process.wait(1) != 0
    return False
