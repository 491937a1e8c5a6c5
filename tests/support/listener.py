"""A receiver of notifications that containers reach: Apprise posts JSON to it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from deploy.core.poll import wait_until
from tests.support.site import docker


@dataclass(frozen=True)
class Message:
    """One notification: when it came, by `time.monotonic()`, and what it says."""

    at: float
    title: str
    text: str
    kind: str


class Listener(ThreadingHTTPServer):
    """Takes notifications on the address of Docker's default bridge."""

    def __init__(self, status: int = 200) -> None:
        gateway = docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()
        super().__init__((gateway, 0), Taking)
        self.messages: list[Message] = []
        self.beats: list[float] = []
        self.status = status

    @property
    def url(self) -> str:
        """Its address as Apprise writes it."""
        return f"json://{self.server_address[0]!s}:{self.server_address[1]}"

    def first(self, words: str, within: float, *, resolved: bool = False, since: float = 0) -> Message:
        """Wait for a notification whose title has these words."""

        def fitting() -> list[Message]:
            fits = [one for one in self.messages if words in one.title and one.at >= since]
            return [one for one in fits if ("RESOLVED" in one.title) == resolved]

        assert wait_until(lambda: bool(fitting()), within), f"nothing about {words!r} in {self.messages}"
        return fitting()[0]


class Taking(BaseHTTPRequestHandler):
    """Take one notification, or a sign of life."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Listener)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.messages.append(Message(time.monotonic(), body["title"], body["message"], body["type"]))
        self.send_response(self.server.status)
        self.end_headers()

    def do_GET(self) -> None:
        assert isinstance(self.server, Listener)
        self.server.beats.append(time.monotonic())
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def listening() -> Iterator[Listener]:
    """Listen while a test runs."""
    with Listener() as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        yield listener
        listener.shutdown()
