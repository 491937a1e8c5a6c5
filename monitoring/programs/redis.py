"""Ask a Redis, in the few words of its protocol that are needed.

RESP2: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

import socket
from typing import Any

WITHIN = 2.0  # seconds; Prometheus gives up after four


class Redis:
    """A connection; whatever goes wrong raises OSError, also what Redis refuses."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), WITHIN)
        self.stream = self.socket.makefile("rb")

    def __enter__(self) -> Redis:
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()
        self.socket.close()

    def ask(self, *words: str) -> Any:
        """Send one command and return its answer."""
        self.send(*words)
        return self.read()

    def send(self, *words: str) -> None:
        """Send one command."""
        parts = [word.encode() for word in words]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(one), one) for one in parts))

    def wait(self) -> None:
        """Have the next read wait as long as nothing comes; a peer that is gone is noticed within half a minute."""
        self.socket.settimeout(None)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL):
            self.socket.setsockopt(socket.IPPROTO_TCP, option, 10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)

    def read(self) -> Any:
        """Read one answer: a number, a text, a list, or None."""
        line = self.stream.readline()
        if not line.endswith(b"\r\n"):
            raise OSError("Redis has closed the connection")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            raise OSError(f"Redis refuses: {rest.decode(errors='replace')}")
        if kind == b"+":
            return rest.decode()
        number = int(rest)
        if kind == b"*":
            return [self.read() for _ in range(number)] if number >= 0 else None
        if kind == b"$":
            return self.stream.read(number + 2)[:-2].decode(errors="replace") if number >= 0 else None
        return number
