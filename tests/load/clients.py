"""The clients that only read: keep-alive GETs, a connection for each GET, and slow responses."""

import asyncio
import json
import random
import re
from time import monotonic
from typing import Any

from .http import Client, Lost, Request, Response
from .ledger import Around
from .scenario import rest

_ASSET = re.compile(rb"""(?:src|href)=["'](/assets/[^"']+)["']""")
_PAGES = ("/", "/api/health", "/api/version")
_BURST = 8


def require_json(response: Response, status: int = 200) -> Any:
    """Give the JSON of a response with the right status, or call it lost."""
    if response.status != status:
        raise Lost(f"status {response.status} instead of {status}: {response.body[:80]!r}")
    try:
        return json.loads(response.body)
    except ValueError as error:
        raise Lost(f"body is not JSON: {response.body[:80]!r}") from error


class Visitor:
    """Choose what one visitor reads next, remembering every asset it was ever pointed to."""

    def __init__(self, around: Around) -> None:
        self._ledger, self._plain = around.ledger, around.scenario.paths
        self._assets: list[bytes] = []
        self._turn = random.randrange(4)

    def next_path(self) -> str:
        """Alternate between the pages and the assets of all index pages seen so far."""
        self._turn += 1
        if self._plain:
            return self._plain[self._turn % len(self._plain)]
        lap, place = divmod(self._turn, len(_PAGES) + 1)
        if place < len(_PAGES):
            return _PAGES[place]
        return self._assets[lap % len(self._assets)].decode() if self._assets else "/"

    def check(self, path: str, response: Response) -> None:
        """Call a response lost unless it is what this path must give."""
        if response.status != 200:
            raise Lost(f"status {response.status} instead of 200: {response.body[:80]!r}")
        if self._plain:
            return
        if path == "/":
            self._check_index(response.body)
        elif path.startswith("/assets/"):
            self._check_asset(path, response.body)
        else:
            self._check_state(path, require_json(response))

    def _check_index(self, body: bytes) -> None:
        if b'<div id="root"' not in body:
            raise Lost(f"index page without its root: {body[:80]!r}")
        self._assets += [asset for asset in _ASSET.findall(body) if asset not in self._assets]

    def _check_asset(self, path: str, body: bytes) -> None:
        if not body:
            raise Lost("empty asset")
        self._ledger.assets.add(path)

    def _check_state(self, path: str, state: Any) -> None:
        if not isinstance(state, dict):
            raise Lost(f"not a JSON object: {state!r:.80}")
        if path == "/api/version":
            if not state.get("release"):
                raise Lost(f"version without a release: {state!r:.80}")
            self._ledger.saw_release(str(state["release"]))


async def keep_alive(around: Around, number: int) -> None:
    """Read on one connection in bursts, at once or after small pauses, until the run stops."""
    scenario = around.scenario
    far = number >= scenario.connections // 2
    client = Client(around.target, scenario.patience, scenario.distance if far else 0.0)
    visitor = Visitor(around)
    pause = scenario.pause if number % 2 else 0.0
    period = _BURST * scenario.connections / scenario.rate
    due = monotonic() + random.random() * period
    while not around.stopping.is_set():
        await rest(around.stopping, due - monotonic())
        due = max(due, monotonic()) + period
        await _burst(around, client, visitor, pause)
    client.close()


async def _burst(around: Around, client: Client, visitor: Visitor, pause: float) -> None:
    for _ in range(_BURST):
        if around.stopping.is_set():
            return
        if client.closed_while_idle():
            around.ledger.tallies["get"].reopened += 1
        await _get(around, "get", client, visitor)
        if pause:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))


async def _get(around: Around, kind: str, client: Client, visitor: Visitor) -> None:
    path = visitor.next_path()
    with around.ledger.request(kind, path, client.distance):
        visitor.check(path, await client.exchange(Request("GET", path, close=kind == "new")))


async def new_connections(around: Around) -> None:
    """Open a connection for each request at a steady rate, however slow the answers are."""
    visitor, due = Visitor(around), monotonic()
    async with asyncio.TaskGroup() as flying:
        while not around.stopping.is_set():
            client = Client(around.target, around.scenario.patience)
            flying.create_task(_get(around, "new", client, visitor))
            due = max(due + 1 / around.scenario.new_rate, monotonic() - 1)
            await asyncio.sleep(max(0.0, due - monotonic()))


async def slow_responses(around: Around) -> None:
    """Ask again and again for a response that takes some seconds."""
    seconds = around.scenario.slow_seconds
    path = f"/api/debug/sleep?seconds={seconds:g}"
    client = Client(around.target, around.scenario.patience)
    while not around.stopping.is_set():
        due = monotonic() + seconds
        if client.closed_while_idle():
            around.ledger.tallies["slow"].reopened += 1
        with around.ledger.request("slow", path):
            answer = require_json(await client.exchange(Request("GET", path), expected=seconds))
            if not isinstance(answer, dict) or answer.get("slept") != seconds:
                raise Lost(f"wrong body: {answer!r:.80}")
        await rest(around.stopping, due - monotonic())
    client.close()
