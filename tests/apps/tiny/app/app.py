"""A small web app that can be told to misbehave: BEHAVIOUR=well|exits|exits-where-marked|redirects|fails|hangs|stalls|errs|crawls."""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

BEHAVIOUR = os.environ["BEHAVIOUR"]
HEALTH = {"redirects": 301, "fails": 500}


class App(BaseHTTPRequestHandler):
    """Answers /health and /version, and says hello to everything else."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        if (self.path, BEHAVIOUR) in (("/health", "hangs"), ("/", "stalls")):
            threading.Event().wait()
        status = HEALTH.get(BEHAVIOUR, 200) if self.path == "/health" else 200
        if self.path == "/" and BEHAVIOUR == "errs":  # healthy, and of no use
            status = 500
        if self.path == "/" and BEHAVIOUR == "crawls":
            time.sleep(1.5)
        self.answer(status, {"release": os.environ.get("RELEASE", "")})

    def answer(self, status: int, body: dict[str, str]) -> None:
        """Send JSON."""
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        if status == 301:
            self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet; the edge has the access log."""


class Server(ThreadingHTTPServer):
    """Takes a burst of connections."""

    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    """Serve until SIGTERM."""
    if BEHAVIOUR == "exits" or (BEHAVIOUR == "exits-where-marked" and Path("/scratch/marked").exists()):
        sys.exit("tiny: told to exit at once")
    server = Server(("0.0.0.0", 8000), App)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    os._exit(0)


if __name__ == "__main__":
    main()
