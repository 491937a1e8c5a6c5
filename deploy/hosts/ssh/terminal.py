"""This terminal, or these three streams, as those of a program on a host."""

from __future__ import annotations

import os
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from select import select

from paramiko import Channel

BUFFER = 1 << 16


def size() -> tuple[int, int]:
    """Return the terminal's columns and lines."""
    return os.get_terminal_size(1)


@contextmanager
def raw() -> Iterator[None]:
    """Hand every key to the program."""
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def feed(channel: Channel, terminal: bool) -> None:
    """Pass on what comes to our standard input, and how large our terminal is, until either side ends.

    A signal's handler could not: it may come while this process holds the lock that it would wait for.
    """
    sent = size() if terminal else None
    with suppress(OSError):
        while not channel.closed:
            if sent and sent != (now := size()):
                channel.resize_pty(*now)
                sent = now
            if select([0], [], [], 0.1)[0]:
                data = os.read(0, BUFFER)
                if not data:
                    channel.shutdown_write()
                    return
                channel.sendall(data)


def pass_on(receive: Callable[[int], bytes], number: int, enough: threading.Event, channel: Channel) -> None:
    """Write what the program says to one of our own streams; a reader who has seen enough ends it."""
    try:
        while data := receive(BUFFER):
            while data:
                data = data[os.write(number, data) :]
    except BrokenPipeError:
        enough.set()
        channel.close()
