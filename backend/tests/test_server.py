"""A real server loses no request when it is drained and stopped."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection

from bookreader.beat import LOCK as BEAT_LOCK
from bookreader.broker import redis
from tests.books import TEXT
from tests.processes import Server, wait_for, working

SOCKETS = 6  # enough for both processes to hold some


def close_code(connection: ClientConnection) -> int | None:
    """Wait for the server to hang up, and return its reason."""
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=5)
    return closed.value.rcvd.code if closed.value.rcvd else None


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


def test_sigterm_finishes_requests_and_closes_websockets(server: Server) -> None:
    with ThreadPoolExecutor() as pool, ExitStack() as stack:
        open_ones = [stack.enter_context(server.listen()) for _ in range(SOCKETS)]
        slow = pool.submit(httpx2.get, f"{server.url}/api/debug/sleep?seconds=2", timeout=10)
        wait_for(lambda: in_flight(server))
        server.process.send_signal(signal.SIGTERM)
        assert [close_code(one) for one in open_ones] == [1012] * SOCKETS
        assert slow.result().json() == {"slept": 2, "release": "tested"}
    assert server.process.wait(timeout=10) == 0


def test_second_scheduler_waits_until_the_first_stops(tmp_path_factory: pytest.TempPathFactory) -> None:
    with ExitStack() as second:
        with working(tmp_path_factory.mktemp("first"), "beat"):
            holder = wait_for(lambda: redis.get(BEAT_LOCK))
            second.enter_context(working(tmp_path_factory.mktemp("second"), "beat"))
            assert redis.get(BEAT_LOCK) == holder
        assert wait_for(lambda: redis.get(BEAT_LOCK)) != holder
