"""The clients that keep a WebSocket open through every deploy."""

import asyncio
import json

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from .http import Lost
from .ledger import Around, Attempt, Interrupted

_PATH = "/api/events"
_RESTARTING = 1012


class Socket:
    """Ping over one WebSocket, which only an announced restart may close."""

    def __init__(self, around: Around) -> None:
        self._around, self._scenario = around, around.scenario
        self._pongs = 0
        self._restarted = self._finished = False

    async def run(self) -> None:
        """Keep a WebSocket open until the run stops, and ping once more after that."""
        while not self._finished:
            pongs = self._pongs
            await self._connection()
            # A server that closes each new socket must not be asked thousands of times.
            if self._pongs == pongs and not self._finished:
                await asyncio.sleep(self._scenario.ping_seconds)

    async def _connection(self) -> None:
        try:
            socket = await self._connect()
        except Exception as error:
            self._finished = self._around.stopping.is_set()
            self._lose(f"could not connect: {type(error).__name__}: {error}")
            return
        self._around.ledger.tallies["ws"].reopened += self._restarted
        self._restarted = False
        async with socket:
            await self._talk(socket)

    async def _connect(self) -> ClientConnection:
        url, patience = f"ws://{self._around.target.authority}{_PATH}", self._scenario.patience
        # A proxy, a keep-alive ping or compression would each be a way to hide or add a fault.
        return await connect(
            url, open_timeout=patience, close_timeout=1, ping_interval=None, compression=None, proxy=None
        )

    async def _talk(self, socket: ClientConnection) -> None:
        while not self._finished:
            last = self._around.stopping.is_set()
            attempt = await self._ping(socket)
            self._finished = last and not attempt.interrupted
            self._restarted = attempt.interrupted
            # Open around the run means: answered at least once before the stop, and after it.
            self._around.ledger.sockets += self._finished and attempt.ok and self._pongs > 0
            self._pongs += attempt.ok
            if not attempt.ok or not (last or await self._idle(socket)):
                return

    async def _ping(self, socket: ClientConnection) -> Attempt:
        limit = self._scenario.pong_seconds
        with self._around.ledger.request("ws", _PATH) as attempt:
            try:
                async with asyncio.timeout(limit):
                    await socket.send("ping")
                    await _pong(socket)
            except ConnectionClosed as closed:
                raise Interrupted if _announced(closed) else Lost(f"closed: {closed}") from closed
            except TimeoutError as error:
                raise Lost(f"timeout: no pong in {limit:g} s") from error
        return attempt

    async def _idle(self, socket: ClientConnection) -> bool:
        try:
            async with asyncio.timeout(self._scenario.ping_seconds):
                while True:
                    await socket.recv()
        except TimeoutError:
            return True
        except ConnectionClosed as closed:
            self._restarted = _announced(closed)
            if not self._restarted:
                self._lose(f"closed: {closed}")
            return False

    def _lose(self, what: str) -> None:
        self._around.ledger.lost_connection("ws", _PATH, what)


def _announced(closed: ConnectionClosed) -> bool:
    return closed.rcvd is not None and closed.rcvd.code == _RESTARTING


async def _pong(socket: ClientConnection) -> None:
    while True:
        message = json.loads(await socket.recv())
        if isinstance(message, dict) and message.get("type") == "pong":
            if not message.get("release"):
                raise Lost(f"pong without a release: {message!r:.80}")
            return
