"""A small server like the app, with faults to inject, for testing the clients."""

import asyncio
import hashlib
import json
import re
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.server import ServerProtocol


class App:
    """Answer like the app, except for one fault on the chosen turn of the chosen path."""

    def __init__(self, fault: str = "", path: str = "none", turn: int = 1) -> None:
        self.fault, self.path, self.turn = fault, path, turn
        self.release, self.turns, self.uploads = "r1", 0, 0
        self.notes: list[dict[str, object]] = [{"seq": 1, "id": "old", "text": "from before"}]
        self.books: set[str] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while await self._one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        method, path = head.split(b" ", 2)[0].decode(), head.split(b" ", 2)[1].decode()
        fault = self._fault_for(method, path)
        if path == "/api/events":
            await self._websocket(head, reader, writer, fault)
            return False
        length = re.search(rb"content-length: (\d+)", head.lower())
        body = await reader.readexactly(int(length[1])) if length else b""
        status, answer = await self._answer(method, path, body, fault)
        close = b"connection: close" in head.lower() or fault == "announced close"
        return await self._reply(writer, status, answer, fault, close)

    def _fault_for(self, method: str, path: str) -> str:
        chosen = f"{method} {path} ".startswith(self.path)
        self.turns += chosen
        return self.fault if chosen and self.turns == self.turn else ""

    async def _reply(self, writer: asyncio.StreamWriter, status: int, body: bytes, fault: str, close: bool) -> bool:
        if fault == "502":
            status = 502
        head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(body)}\r\n"
        if fault == "no length":
            head, close = f"HTTP/1.1 {status} OK\r\n", True
        whole = (head + ("Connection: close\r\n" if close else "") + "\r\n").encode() + body
        if fault == "stall":
            await asyncio.sleep(0.6)
        if fault == "eof":
            return False
        if fault in ("truncated", "reset"):
            whole = whole[:-3]
        writer.write(whole + (b"HTTP/1.1 200 OK\r\n\r\n" if fault == "extra" else b""))
        await writer.drain()
        if fault == "reset":
            await asyncio.sleep(0.01)
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(1, 13, linger)
        if fault == "late close":
            await asyncio.sleep(0.01)
        return not close and fault not in ("truncated", "reset", "idle close", "late close")

    async def _answer(self, method: str, path: str, body: bytes, fault: str) -> tuple[int, bytes]:
        if fault == "wrong body":
            return (201 if method == "POST" else 200), b'{"ok": "but not what was asked for"}'
        if fault == "not json":
            return 200, b"<html>welcome</html>"
        if method == "POST":
            return self._book(body) if path == "/api/books" else self._note(json.loads(body), fault)
        if method == "DELETE":
            self.books.discard(path.rsplit("/", 1)[1])
            return 204, b""
        return await self._read(path)

    async def _read(self, path: str) -> tuple[int, bytes]:
        if path == "/":
            return 200, f'<div id="root"></div><script src="/assets/{self.release}.js">'.encode()
        if path.startswith("/assets/"):
            gone = self.fault == "asset gone" and path != f"/assets/{self.release}.js"
            return (404, b"gone") if gone else (200, b"" if self.fault == "empty asset" else b"js" * 99)
        if path.startswith("/api/notes"):
            after = int(path.split("after=")[1].split("&")[0])
            return 200, json.dumps([note for note in self.notes if int(str(note["seq"])) > after]).encode()
        if path.startswith("/api/debug/sleep"):
            await asyncio.sleep(0.05)
            return 200, b'{"slept": 0.05}'
        return 200, json.dumps({"status": "ok", "release": self.release}).encode()

    def _note(self, note: dict[str, object], fault: str) -> tuple[int, bytes]:
        if fault == "changed":
            note["text"] = "something else"
        for _ in range({"forget": 0, "double": 2}.get(fault, 1)):
            self.notes.append({"seq": len(self.notes) + 1, **note})
        return (409 if fault == "conflict" else 201), b"{}"

    def _book(self, body: bytes) -> tuple[int, bytes]:
        text = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        self.uploads += 1
        self.books.add(str(self.uploads))
        digest = hashlib.sha256(text).hexdigest()
        return 201, json.dumps({"id": self.uploads, "bytes": len(text), "sha256": digest}).encode()

    async def _websocket(
        self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: str
    ) -> None:
        server, pings = ServerProtocol(), 0
        server.receive_data(head)
        while True:
            for event in server.events_received():
                pings += isinstance(event, Frame) and event.opcode is Opcode.TEXT
                self._event(server, event)
            if fault == "refused":
                break
            if pings == 2 and fault in ("1006", "1012", "1011"):
                await self._close(server, writer, fault)
                break
            for data in server.data_to_send():
                writer.write(data)
            if pings == 2 and fault == "1011 idle":
                await asyncio.sleep(0.01)
                await self._close(server, writer, "1011")
                break
            if server.close_expected() or not (data := await reader.read(4096)):
                break
            server.receive_data(data)

    def _event(self, server: ServerProtocol, event: object) -> None:
        if isinstance(event, Handshake):
            server.send_response(server.accept(event))
            server.send_text(b'{"type": "hello"}')
        elif isinstance(event, Frame) and event.opcode is Opcode.TEXT and self.fault != "silent":
            server.send_text(json.dumps({"type": "pong", "release": self.release}).encode())

    async def _close(self, server: ServerProtocol, writer: asyncio.StreamWriter, fault: str) -> None:
        if fault != "1006":
            server.data_to_send()
            server.send_close(int(fault), "bye")
            writer.write(b"".join(server.data_to_send()))
            await writer.drain()


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[str]:
    """Serve the app on a free port of the loopback interface."""
    server = await asyncio.start_server(app.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
