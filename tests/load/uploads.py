"""The clients that upload books slowly."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from time import monotonic
from uuid import uuid4

from .clients import require_json
from .http import Client, Lost, Request
from .ledger import Around
from .scenario import rest

_PATH = "/api/books"
_CHUNK = 65536
_LINE = b"The reader turned the page and went on, although the library was being moved.\n"
_BLOCK = (_LINE * (_CHUNK // len(_LINE) + 1))[:_CHUNK]


class Book:
    """Generate one book and hash exactly what is sent of it."""

    def __init__(self, size: int, seconds: float) -> None:
        self.size, self._seconds = size, seconds
        self.sha256 = hashlib.sha256()
        self._name = uuid4().hex
        part = f'Content-Disposition: form-data; name="file"; filename="load-{self._name}.txt"'
        self._head = f"--{self._name}\r\n{part}\r\nContent-Type: text/plain\r\n\r\n".encode()
        self._tail = f"\r\n--{self._name}--\r\n".encode()

    def request(self) -> Request:
        """Give the request that uploads this book."""
        length = len(self._head) + self.size + len(self._tail)
        kind = f"multipart/form-data; boundary={self._name}"
        return Request("POST", _PATH, content_type=kind, close=True, stream=self._stream(), length=length)

    async def _stream(self) -> AsyncIterator[bytes]:
        begun = monotonic()
        yield self._head
        for sent in range(0, self.size, _CHUNK):
            # The name makes every book different, so that no stored book can pass for this one.
            block = self._name.encode() + b"\n" + _BLOCK if sent == 0 else _BLOCK
            text = block[: min(_CHUNK, self.size - sent)]
            self.sha256.update(text)
            yield text
            await asyncio.sleep(max(0.0, begun + self._seconds * sent / self.size - monotonic()))
        yield self._tail


async def slow_uploads(around: Around, stored: list[str]) -> None:
    """Upload one book after the other, each on a new connection."""
    scenario = around.scenario
    while not around.stopping.is_set():
        due = monotonic() + scenario.upload_seconds
        with around.ledger.request("upload", _PATH):
            await _upload(around, Book(scenario.upload_bytes, scenario.upload_seconds), stored)
        await rest(around.stopping, due - monotonic())


async def _upload(around: Around, book: Book, stored: list[str]) -> None:
    client = Client(around.target, around.scenario.patience)
    answer = require_json(await client.exchange(book.request(), around.scenario.upload_seconds), 201)
    if isinstance(answer, dict) and "id" in answer:
        stored.append(str(answer["id"]))
    expected = {"bytes": book.size, "sha256": book.sha256.hexdigest()}
    if not isinstance(answer, dict) or {name: answer.get(name) for name in expected} != expected:
        raise Lost(f"wrong body: {answer!r:.200} instead of {expected}")


async def remove(around: Around, stored: list[str]) -> None:
    """Delete the uploaded books, counting only those that could not be deleted."""
    for name in stored:
        client = Client(around.target, around.scenario.patience)
        try:
            response = await client.exchange(Request("DELETE", f"{_PATH}/{name}", close=True))
            around.ledger.left_behind += response.status not in (200, 204)
        except Exception:
            around.ledger.left_behind += 1
