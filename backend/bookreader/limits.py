"""Refuse what is too large before it fills the disk."""

from fastapi import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_FILE_BYTES = 32 * 2**20
MAX_BODY_BYTES = MAX_FILE_BYTES + 2**16  # the multipart frame around the file


def too_large() -> HTTPException:
    """Make the answer to a file above the limit."""
    return HTTPException(413, f"the file is larger than {MAX_FILE_BYTES // 2**20} MB")


class BodyLimit:
    """Stop reading a request body above the limit, whether its length was announced or not."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what is received; the framework turns the exception into the answer."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        read, announced = 0, int(dict(scope["headers"]).get(b"content-length", b"0"))

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if max(read, announced) > MAX_BODY_BYTES:
                raise too_large()
            return message

        return await self.app(scope, counted, send)
