"""No network in the two lower storeys: what decides must not need one."""

from __future__ import annotations

import socket
from typing import Any

import pytest

LOOPBACK = ("127.0.0.1", "::1", "localhost")


def block(patch: pytest.MonkeyPatch, *, loopback: bool) -> None:
    """Make every connection fail; with `loopback` only those that leave this machine."""
    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name), loopback))


def guarded(connect: Any, loopback: bool) -> Any:
    """Wrap one way to connect."""

    def refused(self: socket.socket, address: Any) -> Any:
        if loopback and isinstance(address, tuple) and address[0] in LOOPBACK:
            return connect(self, address)
        raise AssertionError(f"this storey has no network: {address}")

    return refused
