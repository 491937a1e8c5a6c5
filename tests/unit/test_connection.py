"""What is said over a connection that breaks."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

import pytest
from paramiko import Message
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_WINDOW_ADJUST

from deploy.hosts.files import WRITE
from deploy.hosts.ssh.transport import Listening


def message(kind: int) -> Message:
    """Make a message about the first channel."""
    message = Message()
    message.add_byte(bytes([kind]))
    message.add_int(0)
    return message


def test_a_connection_that_breaks_is_reported_as_an_error_of_the_machine_and_by_who_reads_not_at_all() -> None:
    """A reader asks for more as it takes what came; that there is no more it learns by reading on."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        listening = Listening(ours)
        theirs.close()
        listening.send_message(message(MSG_CHANNEL_WINDOW_ADJUST))
        with pytest.raises(ConnectionResetError, match="the connection broke") as raised:
            listening.send_message(message(MSG_CHANNEL_DATA))
        assert len(raised.value.args) == 2, "paramiko's thread takes the number out, or dies of it"


@pytest.mark.parametrize("cut", [0, 1, -12, -1])
def test_files_that_do_not_all_arrive_are_no_success_wherever_the_stream_ends(tmp_path: Path, cut: int) -> None:
    """Also between two files: the script would end with 0, and nothing of the second be there."""
    first = second = b"3 644\nnew"

    def code(stream: bytes) -> int:
        argv = ["sh", "-c", WRITE, "sh", f"{tmp_path}/1", f"{tmp_path}/2"]
        return subprocess.run(argv, input=stream, capture_output=True).returncode

    assert code(first + second) == 0
    assert [(tmp_path / name).read_text() for name in "12"] == ["new", "new"]
    assert code((first + second)[:cut])
    assert code(first + second[:cut])
