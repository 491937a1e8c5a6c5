"""A line that takes its time: a port of loopback that leads to another one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

from tests.support.site import free_port

CHUNK = 1 << 16


@contextmanager
def delayed(target: int, seconds: float) -> Iterator[int]:
    """Yield a port of this machine's loopback that leads to another one, half of the seconds later each way."""
    port, listening, over = free_port(), threading.Event(), threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        with closing(back), closing(writer):
            await asyncio.gather(pass_on(reader, back, seconds / 2), pass_on(there, writer, seconds / 2))

    async def run() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", port):
            listening.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    listening.wait(10)
    yield port
    over.set()
    thread.join(10)


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
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
