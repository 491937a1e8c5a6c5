"""A line that takes its time: a port that leads to another one."""

from __future__ import annotations

import asyncio
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from tests.support.site import free_port

CHUNK = 1 << 16


def delayed(target: int, seconds: float) -> int:
    """Return a port of this machine's loopback that leads to another one, half of the seconds later each way."""
    return forwarded("127.0.0.1", target, lambda reader, writer: pass_on(reader, writer, seconds / 2))


def narrow(address: str, target: int, rate: int) -> int:
    """Return a port of an address that leads to another one, at so many bytes a second of each connection each way."""
    return forwarded(address, target, lambda reader, writer: pass_slowly(reader, writer, rate))


def forwarded(address: str, target: int, passing: Callable[[StreamReader, StreamWriter], Awaitable[None]]) -> int:
    """Return a port of an address that leads to another one; what comes is passed on by a function, each way."""
    port, loop, listening = free_port(), asyncio.new_event_loop(), threading.Event()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        there, back = await asyncio.open_connection(address, target)
        await asyncio.gather(passing(reader, back), passing(there, writer), return_exceptions=True)

    async def run() -> None:
        server = await asyncio.start_server(serve, address, port)
        listening.set()
        await server.serve_forever()

    work: Callable[[], Any] = lambda: loop.run_until_complete(run())  # noqa: E731  # it is handed on
    threading.Thread(target=work, daemon=True).start()
    listening.wait(10)
    return port


async def pass_slowly(reader: StreamReader, writer: StreamWriter, rate: int) -> None:
    """Pass on what comes, so many bytes a second."""
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(len(data) / rate)
    finally:
        writer.close()


async def pass_on(reader: StreamReader, writer: StreamWriter, delay: float) -> None:
    """Pass on what comes, each part as long after it came, however much is on its way."""
    loop, waiting = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def write() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0, due - loop.time()))
            if not data:
                return writer.close()
            writer.write(data)
            with suppress(ConnectionError):  # one side has hung up
                await writer.drain()

    writing = asyncio.ensure_future(write())
    while data := await reader.read(CHUNK):
        waiting.put_nowait((loop.time() + delay, data))
    waiting.put_nowait((loop.time() + delay, b""))
    await writing
