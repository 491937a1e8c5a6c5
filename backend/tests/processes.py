"""Start the app's processes as the container does, and wait for what they do."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx2
from websockets.sync.client import ClientConnection, connect

BACKEND = Path(__file__).parent.parent
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Running:
    """A process of the app, and the one directory it may write to."""

    process: subprocess.Popen[bytes]
    tmp: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module beside the process, as `docker exec` does."""
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, env=environment(self.tmp), capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Worker(Running):
    """A running worker or scheduler."""


@dataclass(frozen=True)
class Server(Running):
    """A running web server."""

    port: int

    @property
    def url(self) -> str:
        """Return where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def listen(self) -> ClientConnection:
        """Open a WebSocket to the events."""
        return connect(f"ws://127.0.0.1:{self.port}/api/events")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module beside the server, with its port."""
        command = [sys.executable, "-m", *arguments]
        env = environment(self.tmp, PORT=str(self.port))
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def environment(tmp: Path, **more: str) -> dict[str, str]:
    """Return the environment of a container."""
    return {**os.environ, "TMPDIR": str(tmp), "PYTHONPATH": str(BACKEND), **more}


@contextmanager
def started(command: list[str], tmp: Path, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, in a directory apart, for as long as the block lasts."""
    process = subprocess.Popen(command, cwd=tmp, env=environment(tmp, **more))
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


@contextmanager
def serving(tmp: Path, **more: str) -> Iterator[Server]:
    """Run the web server until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    more = {"PORT": str(port), "WEB_PROCESSES": "2", **more}
    with started([sys.executable, "-m", "bookreader.serve"], tmp, **more) as process:
        server = Server(process, tmp, port)
        wait_for(lambda: answers(server))
        yield server


def answers(server: Server) -> bool:
    """Tell whether both processes of the server have started."""
    try:
        return httpx2.get(f"{server.url}/ready").is_success and len(both_processes(server)) == 2
    except httpx2.TransportError:
        return False


def both_processes(server: Server) -> list[Path]:
    """Return one metrics file for each process that serves."""
    return list(server.tmp.glob("metrics/gauge_livesum_*.db"))


@contextmanager
def working(tmp: Path, role: str = "worker") -> Iterator[Worker]:
    """Run Celery until the block ends."""
    command = [sys.executable, "-m", "celery", "-A", "bookreader.worker", role]
    with started(command, tmp) as process:
        worker = Worker(process, tmp)
        wait_for(lambda: worker.run("bookreader.health", role).returncode == 0)
        yield worker


def wait_for(look: Callable[[], Seen], seconds: float = 30) -> Seen:
    """Look again until there is something to see."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.05)
    return seen
