"""A line that takes its time: a port that leads to another one."""

from __future__ import annotations

import asyncio
import threading
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress

from tests.support.site import free_port

CHUNK = 1 << 16


def delayed(target: int, seconds: float) -> AbstractContextManager[int]:
    """Yield a port of this machine's loopback that leads to another one, half of the seconds later each way."""
    return forwarded("127.0.0.1", target, lambda reader, writer: pass_on(reader, writer, seconds / 2))


def narrow(address: str, target: int, rate: int) -> AbstractContextManager[int]:
    """Yield a port of an address that leads to another one, at so many bytes a second of each connection each way."""
    return forwarded(address, target, lambda reader, writer: pass_slowly(reader, writer, rate))


@contextmanager
def forwarded(
    address: str, target: int, passing: Callable[[StreamReader, StreamWriter], Awaitable[None]]
) -> Iterator[int]:
    """Yield a port of an address that leads to another one; what comes is passed on by a function, each way."""
    port, listening, over = free_port(), threading.Event(), threading.Event()

    async def serve(reader: StreamReader, writer: StreamWriter) -> None:
        there, back = await asyncio.open_connection(address, target)
        with closing(back), closing(writer):
            await asyncio.gather(passing(reader, back), passing(there, writer))

    async def run() -> None:
        async with await asyncio.start_server(serve, address, port):
            listening.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    listening.wait(10)
    try:
        yield port
    finally:
        over.set()
        thread.join(10)


async def pass_slowly(reader: StreamReader, writer: StreamWriter, rate: int) -> None:
    """Pass on what comes, so many bytes a second."""
    with suppress(ConnectionError), closing(writer):  # one side has hung up
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(len(data) / rate)


async def pass_on(reader: StreamReader, writer: StreamWriter, delay: float) -> None:
    """Pass on what comes, each part as long after it came, however much is on its way."""
    loop, waiting = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def read() -> None:
        with suppress(ConnectionError):  # one side has hung up
            while data := await reader.read(CHUNK):
                waiting.put_nowait((loop.time() + delay, data))
        waiting.put_nowait((loop.time() + delay, b""))

    async def write() -> None:
        with suppress(ConnectionError):
            while True:
                due, data = await waiting.get()
                await asyncio.sleep(max(0, due - loop.time()))
                if not data:
                    return writer.close()
                writer.write(data)
                await writer.drain()

    await asyncio.gather(read(), write())
