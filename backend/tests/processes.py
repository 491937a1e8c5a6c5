"""Start the app's processes as the container does, and wait for what they do."""

import json
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
from typing import Any, TypeVar

import httpx2
from websockets.sync.client import ClientConnection, connect

BACKEND = Path(__file__).parent.parent
OUTPUT = "stdout"  # the file that has what a process printed
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Running:
    """A process of the app, and the environment of its container."""

    process: subprocess.Popen[bytes]
    env: dict[str, str]

    @property
    def tmp(self) -> Path:
        """Return the one directory it may write to."""
        return Path(self.env["TMPDIR"])

    def lines(self) -> list[dict[str, Any]]:
        """Return what it has logged; every line is a JSON document."""
        return [json.loads(line) for line in (self.tmp / OUTPUT).read_text().splitlines()]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a module beside the process, as `docker exec` does."""
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, check=False)


@dataclass(frozen=True)
class Worker(Running):
    """A running worker or scheduler."""


@dataclass(frozen=True)
class Server(Running):
    """A running web server."""

    @property
    def address(self) -> str:
        """Return its host and port."""
        return f"127.0.0.1:{self.env['PORT']}"

    @property
    def url(self) -> str:
        """Return where it answers."""
        return f"http://{self.address}"

    def listen(self) -> ClientConnection:
        """Open a WebSocket to the events."""
        return connect(f"ws://{self.address}/api/events")


def environment(tmp: Path, **more: str) -> dict[str, str]:
    """Return the environment of a container."""
    return {**os.environ, "TMPDIR": str(tmp), "PYTHONPATH": str(BACKEND), **more}


@contextmanager
def started(command: list[str], env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process, in a directory apart, for as long as the block lasts."""
    output = Path(env["TMPDIR"]) / OUTPUT
    with output.open("ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=env["TMPDIR"], env=env, stdout=stream
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)  # a test may have stopped it
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)
        print(output.read_text())  # shown where the test fails


@contextmanager
def serving(tmp: Path, **more: str) -> Iterator[Server]:
    """Run the web server until the block ends."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = environment(tmp, **{"PORT": str(port), "WEB_PROCESSES": "2", **more})
    with started(["bookreader.serve"], env) as process:
        server = Server(process, env)
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
def working(tmp: Path, **more: str) -> Iterator[Worker]:
    """Run a worker until the block ends, under a name of its own."""
    env = environment(tmp, **more)
    options = ["--loglevel=INFO", "--without-mingle", "--without-gossip", f"--hostname={tmp.name}@%h"]
    with started(["celery", "--quiet", "-A", "bookreader.worker", "worker", *options], env) as process:
        worker = Worker(process, env)
        wait_for(lambda: worker.run("bookreader.health", "worker").returncode == 0)
        yield worker


@contextmanager
def scheduling(tmp: Path, app: str = "bookreader.worker", **more: str) -> Iterator[Worker]:
    """Run a scheduler until the block ends."""
    env = environment(tmp, **more)
    with started(["celery", "--quiet", "-A", app, "beat"], env) as process:
        beat = Worker(process, env)
        wait_for(lambda: beat.run("bookreader.health", "beat").returncode == 0)
        yield beat


def wait_for(look: Callable[[], Seen], seconds: float = 30) -> Seen:
    """Look again until there is something to see."""
    deadline = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.05)
    return seen
