"""A service that takes notifications."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Receiver(HTTPServer):
    """Takes notifications, and keeps them."""

    def __init__(self, address: str) -> None:
        super().__init__((address, 0), Taking)
        self.taken: list[dict[str, Any]] = []


class Taking(BaseHTTPRequestHandler):
    """Take one notification."""

    def do_POST(self) -> None:
        """Keep it."""
        assert isinstance(self.server, Receiver)
        self.server.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def receiving(address: str = "127.0.0.1") -> Iterator[Receiver]:
    """Run one at an address of this machine."""
    with Receiver(address) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
