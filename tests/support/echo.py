"""A small app behind a real edge: says what it was sent, and answers in the ways that edges spoil. Runs by itself."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

GO = threading.Event()
PAGE = b"<p>a page that is long enough to be worth its compression</p>" * 20


class Echo(BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer a GET; `/api/echo` says what came."""
        answers = {"/api/events": self.events, "/api/socket": self.socket, "/api/own": self.own, "/api/go": self.go}
        answers.get(self.path.partition("?")[0], self.echo)()

    def do_POST(self) -> None:
        """Answer once five bytes of the body are there."""
        got = self.rfile.read(min(5, int(self.headers["Content-Length"])))
        self.answer(json.dumps({"got": len(got), "headers": self.spoken()}).encode())
        self.close_connection = True

    def echo(self) -> None:
        """Say what came."""
        self.answer(json.dumps({"headers": self.spoken(), "filler": "x" * 600}).encode())

    def spoken(self) -> dict[str, str]:
        """Return the headers of the request by their names in lower case; several of one name are joined."""
        names = {name.lower() for name in self.headers}
        return {name: ", ".join(self.headers.get_all(name, [])) for name in names}

    def own(self) -> None:
        """Answer with headers that the edge would add."""
        own = {"Content-Security-Policy": "default-src 'none'", "Referrer-Policy": "no-referrer", "X-Request-ID": "own"}
        self.answer(b"{}", own)

    def events(self) -> None:
        """Send an event, and a second one when another request has asked for it."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Accel-Buffering", "no")
        self.end_headers()
        for event in (b"data: one\n\n", b"data: two\n\n"):
            self.wfile.write(event)
            self.wfile.flush()
            GO.wait(10)
        self.close_connection = True

    def go(self) -> None:
        """Let the second event go."""
        GO.set()
        self.answer(b"{}")

    def socket(self) -> None:
        """Become a socket that says back what it hears, for who asked for one."""
        if (self.headers["Upgrade"], self.headers["Connection"]) != ("websocket", "upgrade"):
            self.send_error(426)
            return
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.end_headers()
        self.wfile.write(self.rfile.read(5))
        self.close_connection = True

    def answer(self, body: bytes, more: dict[str, str] | None = None) -> None:
        """Send JSON."""
        self.send_response(200)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            **(more or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", 9000), Echo).serve_forever()
