"""A program that runs on a host over SSH."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from threading import Thread
from types import TracebackType
from typing import IO, cast

from paramiko import Channel

from deploy.core.errors import OpsError
from deploy.hosts.ssh.link import Link

BUFFER = 1 << 16
# sshd tells a program without a terminal nothing when we are gone: its input, which ends then, is watched in its place.
# The group that `timeout` makes is signalled: while it starts a program it passes nothing on.
WATCHED = """exec 3<&0
"$@" </dev/null 3<&- & program=$!
{
    while read -r _ <&3; do :; done
    until kill -TERM "-$program" || ! kill -0 "$program"; do sleep 0.1; done
} >/dev/null 2>&1 & watcher=$!
exec 3<&- 2>/dev/null
wait "$program"; code=$?
kill "$watcher"
exit "$code"
"""
# Both streams are one pipe there already: sshd reads two in turn, and cuts what it takes in the middle of a line.
AS_ONE = 'exec "$@" 2>&1'
SHOWN = 1 << 16  # bytes of stderr


class Stderr(Thread):
    """Takes what a program prints to stderr off the connection, or that would stop its stdout too; keeps the end."""

    def __init__(self, channel: Channel) -> None:
        super().__init__(daemon=True)
        self.channel, self.kept = channel, b""
        self.start()

    def run(self) -> None:
        """Read on until the program ends."""
        while data := self.channel.recv_stderr(BUFFER):
            self.kept = (self.kept + data)[-SHOWN:]


class Program:
    """A program that runs over there, as `Process` has it."""

    def __init__(self, link: Link, channel: Channel, *, stdin_open: bool, stderr_apart: bool = False) -> None:
        self.link, self.channel, self.returncode, self.terminated = link, channel, cast("int | None", None), False
        self.stdin = cast(IO[bytes], channel.makefile_stdin("wb", 0)) if stdin_open else None
        self.stdout = cast("IO[bytes] | None", channel.makefile("rb", BUFFER))
        self.stderr = Stderr(channel) if stderr_apart else None

    @property
    def error_output(self) -> str:
        """The end of what it printed to stderr, where that is kept apart; whole once it has ended."""
        if not self.stderr:
            return ""
        if self.returncode is not None:
            self.stderr.join()
        return self.stderr.kept.decode(errors="backslashreplace")

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise TimeoutError, or OpsError when the connection broke."""
        if not self.channel.status_event.wait(timeout):
            raise TimeoutError(f"no end within {timeout} s")
        if self.channel.exit_status < 0 and not self.channel.get_transport().is_active():
            raise self.link.broken()
        self.returncode = self.channel.exit_status
        return self.returncode

    def terminate(self) -> None:
        """End its input: one whose input was not open is ended by that."""
        self.terminated = True
        self.end_input()

    def end_input(self) -> None:
        """Say that nothing more is written to it."""
        if not self.channel.closed:
            self.channel.shutdown_write()

    def __enter__(self) -> Program:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it, drop the output that was not read, and wait.

        An error in here is dropped where another one is on its way.
        """
        with closing(self.channel), suppress(*(OSError, OpsError) if error else ()):
            self.end_input()
            while self.channel.recv(BUFFER):
                pass
            self.wait()


def whole(receive: Callable[[int], bytes]) -> bytes:
    """Receive everything; in large pieces, since what is left in paramiko's buffer is moved for each."""
    return b"".join(iter(lambda: receive(1 << 20), b""))
