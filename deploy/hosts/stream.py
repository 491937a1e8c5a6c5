"""A connection that bytes go over: a socket of this machine, or a channel of SSH."""

from __future__ import annotations

import socket
from typing import Protocol


class Stream(Protocol):
    """What a socket and a channel of SSH have in common."""

    def sendall(self, data: bytes, /) -> object:
        """Send all of it."""

    def recv(self, size: int, /) -> bytes:
        """Wait for something and return it; nothing where the other side has closed."""

    def close(self) -> None:
        """End it."""


def directly(address: str, port: int, within: float) -> Stream:
    """Open a connection from this machine; raise OSError where nothing listens or answers within so many seconds."""
    return socket.create_connection((address, port), within)
