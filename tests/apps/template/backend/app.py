"""Two web services in one program: SERVICE and RELEASE say who answers, PORT where. `app.py health` asks it how it is."""

import http.client
import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ["PORT"])
HEALTH = 200


class App(BaseHTTPRequestHandler):
    """Answers every path with who it is."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Answer one request."""
        text = json.dumps({"service": os.environ["SERVICE"], "release": os.environ["RELEASE"]}).encode()
        self.send_response(HEALTH if self.path == "/health" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet; the edge has the access log."""


class Server(ThreadingHTTPServer):
    """Takes a burst of connections."""

    daemon_threads = True
    request_queue_size = 128


def healthy() -> bool:
    """Tell whether the server of this container answers 200."""
    asked = http.client.HTTPConnection("127.0.0.1", PORT, timeout=2)
    asked.request("GET", "/health")
    return asked.getresponse().status == 200


def main() -> None:
    """Serve until SIGTERM."""
    server = Server(("0.0.0.0", PORT), App)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    server.serve_forever()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(not healthy()) if sys.argv[1:] == ["health"] else main()
