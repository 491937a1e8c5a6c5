"""A connection as paramiko speaks it, watched: what is said too late is not sent, and silence ends it."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from errno import ECONNRESET
from typing import Any

from paramiko import Message, Transport
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
    cMSG_GLOBAL_REQUEST,
)
from paramiko.packet import Packetizer
from paramiko.ssh_exception import SSHException

SILENCE = 3  # keepalives without a word from the other side, and the connection is given up
# https://www.rfc-editor.org/rfc/rfc4254#section-5: what names a channel, up to its close
ON_CHANNEL = range(MSG_CHANNEL_WINDOW_ADJUST, MSG_CHANNEL_REQUEST + 1)


class Listening(Packetizer):
    """Knows when the other side last said anything, and says nothing on a channel once it has closed it.

    paramiko writes a message under a lock and sends it without: the answer to a program's end may come in between, and
    sshd ends the whole connection over what comes after that.
    """

    last_message = 0.0

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.order, self.closed_there = threading.Lock(), set[bytes]()

    def send_message(self, data: Message) -> None:
        """Send a message, unless its channel is closed; raise ConnectionResetError when the connection broke.

        paramiko says EOFError, which nobody expects of writing, nor of a reader, who asks for more by it and learns the
        rest by reading on.
        """
        kind, channel = data.asbytes()[0], data.asbytes()[1:5]
        with self.order:
            if kind in ON_CHANNEL and channel in self.closed_there:
                return
            if kind == MSG_CHANNEL_CLOSE:
                self.closed_there.add(channel)
            try:
                super().send_message(data)
            except EOFError:
                if kind != MSG_CHANNEL_WINDOW_ADJUST:
                    raise ConnectionResetError(
                        ECONNRESET, "the connection broke"
                    ) from None  # its own thread wants the number

    def read_message(self) -> tuple[int, Message]:
        """Read what the other side says next."""
        kind, message = super().read_message()
        self.last_message = time.monotonic()
        if kind == MSG_CHANNEL_OPEN_SUCCESS:  # with our number and theirs, which is used again
            self.closed_there.discard(message.asbytes()[4:8])
        return kind, message


class Watched(Transport):
    """A transport that ends when the other side is silent.

    Paramiko's own keepalive asks for no answer, and for none while we send.
    """

    packetizer: Listening

    def __init__(self, sock: Any, **more: Any) -> None:
        super().__init__(sock, packetizer_class=Listening, **more)
        if isinstance(sock, socket.socket):  # else a short message waits 40 ms for the one before to be acknowledged
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        options = self.get_security_options()
        options.ciphers = sorted(
            options.ciphers, key=lambda name: "gcm" not in name
        )  # half as fast again as those with a MAC

    def watch(self, every: float) -> None:
        """Ask for signs of life, and look for them in a thread of its own: writing may hang."""
        for work in (self.ask, self.end_when_silent):
            threading.Thread(target=work, args=(every,), daemon=True).start()

    def ask(self, every: float) -> None:
        """Send, again and again, a request that the other side must at least refuse."""
        message = Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        with suppress(SSHException, OSError, EOFError):
            while self.is_active():
                self._send_user_message(message)  # type: ignore[attr-defined]  # global_request() waits
                time.sleep(every)

    def end_when_silent(self, every: float) -> None:
        """Close the transport once nothing was heard for too long; everybody who waits on it hears of that."""
        while self.is_active():
            time.sleep(min(1, every))
            if time.monotonic() - self.packetizer.last_message > SILENCE * every:
                self.close()
