"""A real server loses no request when it is drained and stopped."""

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from tests.books import TEXT
from tests.processes import Server, both_processes, wait_for

SOCKETS = 6  # enough for both processes to hold some


def close_code(connection: ClientConnection) -> int | None:
    """Wait for the server to hang up, and return its reason."""
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=5)
    return closed.value.rcvd.code if closed.value.rcvd else None


def closing_times(connections: list[ClientConnection]) -> list[float]:
    """Return when the server hung up on each, counted from now; each time it must say why."""

    def wait(connection: ClientConnection) -> float:
        assert close_code(connection) == 1012
        return time.monotonic() - begun

    begun = time.monotonic()
    with ThreadPoolExecutor(len(connections)) as pool:
        return sorted(pool.map(wait, connections))


def in_flight(server: Server) -> bool:
    """Tell whether the server works on a request."""
    return "http_requests_in_progress 1.0" in httpx2.get(f"{server.url}/metrics").text


@pytest.mark.usefixtures("worker")
def test_progress_arrives_by_websocket(server: Server) -> None:
    with server.listen() as events:
        events.send("ping")
        assert json.loads(events.recv(timeout=5)) == {"type": "pong", "release": "tested"}
        book = httpx2.post(f"{server.url}/api/books", files={"file": ("a.txt", TEXT)}).json()
        seen: list[dict[str, Any]] = []
        while not seen or seen[-1]["state"] != "ready":
            event = json.loads(events.recv(timeout=20))
            if event["book"] == book["id"]:
                seen.append(event)
    assert [event["state"] for event in seen if event["state"] != "parsing"] == ["queued", "ready"]
    assert [event["progress"] for event in seen] == sorted(event["progress"] for event in seen)
    assert seen[-1] == {"type": "progress", "book": book["id"], "state": "ready", "progress": 100}


def test_drain_closes_websockets_and_serves_requests(server: Server) -> None:
    with ExitStack() as stack:
        open_ones = [stack.enter_context(server.listen()) for _ in range(SOCKETS)]
        assert server.run("bookreader.drain").returncode == 0
        assert [close_code(one) for one in open_ones] == [1012] * SOCKETS
        assert close_code(stack.enter_context(server.listen())) == 1012
    assert httpx2.get(f"{server.url}/api/books").status_code == 200
    assert server.run("bookreader.health").returncode == 0
    server.run("bookreader.drain", "off")
    with server.listen() as again:
        again.send("ping")
        assert again.recv(timeout=5)


def test_killed_process_is_replaced_from_the_one_that_imported_the_app(server: Server) -> None:
    pids = {pid_of(file) for file in both_processes(server)}
    assert len({parent(pid) for pid in pids} - {server.process.pid}) == 1
    os.kill(min(pids), signal.SIGKILL)
    wait_for(lambda: len({pid_of(file) for file in both_processes(server)} - pids) == 1)
    for _ in range(20):
        assert httpx2.get(f"{server.url}/ready").status_code == 200
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(timeout=10) == 0


def pid_of(metrics: Path) -> int:
    """Return which process writes this file."""
    return int(metrics.stem.rpartition("_")[2])


def parent(pid: int) -> int:
    """Return which process started another."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_sigterm_finishes_requests_and_closes_websockets(server: Server) -> None:
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        open_ones = [stack.enter_context(server.listen()) for _ in range(SOCKETS)]
        slow = pool.submit(httpx2.get, f"{server.url}/api/debug/sleep?seconds=2", timeout=10)
        wait_for(lambda: in_flight(server))
        server.process.send_signal(signal.SIGTERM)
        assert [close_code(one) for one in open_ones] == [1012] * SOCKETS
        assert slow.result().json() == {"slept": 2, "release": "tested"}
    assert server.process.wait(timeout=10) == 0


def test_drain_hangs_up_on_a_few_at_a_time(server: Server) -> None:
    with ExitStack() as stack:
        open_ones = [stack.enter_context(server.listen()) for _ in range(40)]
        assert server.run("bookreader.drain").returncode == 0
        times = closing_times(open_ones)
    assert 1 < times[-1] - times[0] < 3
    at_once = max(sum(time <= other < time + 0.1 for other in times) for time in times)
    assert at_once <= 12  # of 40, in two processes, with room for a slow machine


def test_drain_that_is_taken_back_leaves_the_rest_connected(server: Server) -> None:
    with ExitStack() as stack:
        open_ones = [stack.enter_context(server.listen()) for _ in range(40)]
        server.run("bookreader.drain")
        wait_for(lambda: websockets(server) < 40)
        server.run("bookreader.drain", "off")
        left = wait_for(lambda: settled(server))
        assert 0 < left < 40
        closed = 0
        for one in open_ones:
            try:
                one.send("ping")
                one.recv(timeout=5)
            except ConnectionClosed:
                closed += 1
    assert closed == 40 - left


def websockets(server: Server) -> int:
    """Return how many WebSockets the server holds."""
    [line] = [
        line
        for line in httpx2.get(f"{server.url}/metrics").text.splitlines()
        if line.startswith("websocket_connections ")
    ]
    return int(float(line.split()[1]))


def settled(server: Server) -> int:
    """Return the number of WebSockets when it has not changed for longer than one step of a drain."""
    before = websockets(server)
    time.sleep(0.5)
    return before if websockets(server) == before else 0
