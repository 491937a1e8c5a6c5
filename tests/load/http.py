"""HTTP/1.1 on one known connection: nothing is sent twice and nothing reconnects by itself."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import h11

from .scenario import Target

_READ = 65536


class Lost(Exception):
    """Say why a request does not count as answered."""


@dataclass(frozen=True)
class Request:
    """Describe one request; a stream replaces the body and needs its length."""

    method: str
    path: str
    body: bytes = b""
    content_type: str = ""
    close: bool = False
    stream: AsyncIterator[bytes] | None = None
    length: int = 0

    def head(self, target: Target) -> h11.Request:
        """Give the request line and headers."""
        headers = [("Host", target.authority)]
        if self.content_type:
            headers.append(("Content-Type", self.content_type))
            headers.append(("Content-Length", str(self.length or len(self.body))))
        if self.close:
            headers.append(("Connection", "close"))
        return h11.Request(method=self.method, target=self.path, headers=headers)


@dataclass(frozen=True)
class Response:
    """Hold one response whose body is known to be complete."""

    status: int
    body: bytes


class Connection:
    """Carry requests one after the other over a single TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._state = h11.Connection(our_role=h11.CLIENT)
        self._received = 0

    @classmethod
    async def open(cls, target: Target) -> "Connection":
        """Open a new connection."""
        return cls(*await asyncio.open_connection(target.host, target.port, **target.security))

    def closed_by_server(self) -> bool:
        """Tell whether the server's close has been noticed."""
        return self._reader.at_eof() or self._reader.exception() is not None

    async def send(self, head: h11.Request, request: Request) -> None:
        """Send one request, streaming its body if it has a stream."""
        self._received = 0
        first = self._state.send(head) or b""
        if request.stream is None:
            body = self._state.send(h11.Data(data=request.body)) if request.body else b""
            self._writer.write(first + (body or b""))
        else:
            self._writer.write(first)
            async for chunk in request.stream:
                self._writer.write(self._state.send(h11.Data(data=chunk)) or b"")
                await self._writer.drain()
        self._state.send(h11.EndOfMessage())
        await self._writer.drain()

    async def receive(self) -> Response:
        """Read one whole response, or say how it was cut."""
        status, body = 0, bytearray()
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
        if self._state.trailing_data[0]:
            raise Lost("bytes after the end of the response")
        return Response(status, bytes(body))

    async def _event(self) -> object:
        while (event := self._state.next_event()) is h11.NEED_DATA:
            data = await self._reader.read(_READ)
            # Also the end of a body without a length: whether that one is complete, nobody can tell.
            if not data:
                raise Lost(f"EOF after {self._received} bytes of the response")
            self._received += len(data)
            self._state.receive_data(data)
        return event

    def release(self) -> bool:
        """Make ready for the next request if the server keeps the connection, else close it."""
        done = self._state.our_state is h11.DONE and self._state.their_state is h11.DONE
        if done and not self._state.trailing_data[0]:
            self._state.start_next_cycle()
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close the connection from this side."""
        self._writer.close()


class Client:
    """Send requests on one connection for as long as the server keeps it."""

    def __init__(self, target: Target, patience: float, distance: float = 0.0) -> None:
        self._target, self._patience, self.distance = target, patience, distance
        self._connection: Connection | None = None

    def closed_while_idle(self) -> bool:
        """Notice, before anything is sent, that the server closed the kept connection."""
        if self._connection is None or not self._connection.closed_by_server():
            return False
        self.close()
        return True

    async def exchange(self, request: Request, expected: float = 0.0) -> Response:
        """Send one request exactly once and read its response, or raise."""
        kept, self._connection = self._connection, None
        limit = expected + self._patience
        try:
            async with asyncio.timeout(limit):
                kept = kept or await Connection.open(self._target)
                # A request on its way cannot be called back when the server closes meanwhile. On one
                # machine that way takes microseconds, so that a faulty reload would go unseen.
                await asyncio.sleep(self.distance)
                await kept.send(request.head(self._target), request)
                return await kept.receive()
        except TimeoutError as error:
            raise Lost(f"timeout: no full response in {limit:g} s") from error
        finally:
            if kept is not None and kept.release():
                self._connection = kept

    def close(self) -> None:
        """Close the kept connection, if there is one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
