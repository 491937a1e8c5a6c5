"""Stream every book's progress to the open browsers."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from redis import RedisError
from redis.asyncio import Redis

from bookreader.broker import PROGRESS
from bookreader.metrics import WEBSOCKETS
from bookreader.paths import DRAIN_FLAG
from bookreader.settings import settings

RESTARTING = 1012  # IANA's WebSocket close codes: "Service Restart"; the client connects again
RETRY_SECONDS = 1.0
DRAIN_CHECK_SECONDS = 0.25
# Clients that are hung up on come back at once: all in one instant would be a wave for the new server.
HANG_UP_SECONDS = 2.0
HANG_UP_STEPS = 20
BACKLOG = 200
PONG = json.dumps({"type": "pong", "release": settings().release})
HANG_UP = ""

Mailbox = asyncio.Queue[str]

router = APIRouter()


class Hub:
    """Hand every event to every listener of this process."""

    def __init__(self) -> None:
        self.mailboxes: set[Mailbox] = set()

    @contextmanager
    def listener(self) -> Iterator[Mailbox]:
        """Receive events for as long as the block lasts."""
        mailbox: Mailbox = asyncio.Queue(BACKLOG)
        self.mailboxes.add(mailbox)
        try:
            with WEBSOCKETS.track_inprogress():
                yield mailbox
        finally:
            self.mailboxes.discard(mailbox)

    def tell(self, event: str) -> None:
        """Post an event to everyone."""
        for mailbox in self.mailboxes:
            post(mailbox, event)

    async def relay(self) -> None:
        """Follow Redis, and come back after it was away."""
        while True:
            with suppress(RedisError, OSError):
                async with Redis.from_url(settings().redis_url, socket_keepalive=True) as redis:
                    await self.follow(redis)
            await asyncio.sleep(RETRY_SECONDS)

    async def follow(self, redis: Redis) -> None:
        """Hand on what the workers publish."""
        async with redis.pubsub(ignore_subscribe_messages=True) as channel:
            await channel.subscribe(PROGRESS)
            async for message in channel.listen():
                self.tell(message["data"].decode())

    async def watch_drain(self) -> None:
        """Hang up while the drain flag is there."""
        while True:
            if DRAIN_FLAG.exists():
                await self.hang_up()
            await asyncio.sleep(DRAIN_CHECK_SECONDS)

    async def hang_up(self) -> None:
        """Hang up on everyone, a few at a time; whoever is left when the flag is lowered stays."""
        mailboxes = list(self.mailboxes)
        for step in range(HANG_UP_STEPS if mailboxes else 0):
            await asyncio.sleep(HANG_UP_SECONDS / HANG_UP_STEPS)
            if not DRAIN_FLAG.exists():
                return
            done, until = (len(mailboxes) * count // HANG_UP_STEPS for count in (step, step + 1))
            for mailbox in mailboxes[done:until]:
                post(mailbox, HANG_UP)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Relay and watch for as long as the server lives."""
        tasks = [asyncio.create_task(self.relay()), asyncio.create_task(self.watch_drain())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


hub = Hub()


def post(mailbox: Mailbox, event: str) -> None:
    """Add an event; a listener that reads too slowly loses the oldest."""
    if mailbox.full():
        mailbox.get_nowait()
    mailbox.put_nowait(event)


@router.websocket("/api/events")
async def events(socket: WebSocket) -> None:
    """Send events until the client leaves or the server drains."""
    await socket.accept()
    if DRAIN_FLAG.exists():
        return await socket.close(RESTARTING)
    with hub.listener() as mailbox:
        sender = asyncio.create_task(send(socket, mailbox))
        try:
            await answer(socket, mailbox)
        finally:
            sender.cancel()


async def send(socket: WebSocket, mailbox: Mailbox) -> None:
    """Empty the mailbox into the socket; one task sends, so that frames never mix."""
    with suppress(WebSocketDisconnect, RuntimeError, OSError):  # the client left first
        while (event := await mailbox.get()) != HANG_UP:
            await socket.send_text(event)
        await socket.close(RESTARTING)


async def answer(socket: WebSocket, mailbox: Mailbox) -> None:
    """Answer pings until the connection ends."""
    while (message := await socket.receive())["type"] != "websocket.disconnect":
        if message.get("text") == "ping":
            post(mailbox, PONG)
