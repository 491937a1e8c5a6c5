"""What is said over a connection that breaks."""

from __future__ import annotations

import socket

import pytest
from paramiko import Message
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_WINDOW_ADJUST

from deploy.hosts.ssh.transport import Listening


def said(kind: int) -> Message:
    """Make a message about the first channel."""
    message = Message()
    message.add_byte(bytes([kind]))
    message.add_int(0)
    return message


def test_a_connection_that_breaks_is_told_as_an_error_of_the_machine_and_by_who_reads_not_at_all() -> None:
    """A reader asks for more as it takes what came; that there is no more it learns by reading on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        listening = Listening(ours)
        theirs.close()
        listening.send_message(said(MSG_CHANNEL_WINDOW_ADJUST))
        with pytest.raises(ConnectionResetError, match="the connection broke") as told:
            listening.send_message(said(MSG_CHANNEL_DATA))
        assert len(told.value.args) == 2, "paramiko's thread takes the number out, or dies of it"
