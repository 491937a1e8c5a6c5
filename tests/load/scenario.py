"""What the clients do, how fast, and how much they must have seen."""

import asyncio
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any
from urllib.parse import urlsplit

KINDS = ("get", "new", "post", "slow", "upload", "ws")
MINIMUMS: Mapping[str, int] = {"get": 1000, "post": 100, "upload": 5, "ws": 5, "asset": 1}


@dataclass(frozen=True)
class Target:
    """Name the server that every client talks to."""

    host: str
    port: int
    tls: bool = False
    name: str = ""

    @classmethod
    def parse(cls, url: str, name: str = "") -> "Target":
        """Read the server's host and port from its URL; `name` is what it is called, where that is not the host."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"expected http://host:port or https://host:port, got {url!r}")
        tls = parts.scheme == "https"
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, name)

    @property
    def security(self) -> dict[str, Any]:
        """Give what a connection needs for TLS; whatever certificate there is will do."""
        if not self.tls:
            return {}
        return {"ssl": ssl._create_unverified_context(), "server_hostname": self.name or self.host}  # noqa: S323

    @property
    def authority(self) -> str:
        """Give the host and port as a Host header carries them."""
        host = self.name or (f"[{self.host}]" if ":" in self.host else self.host)
        return f"{host}:{self.port}"


@dataclass(frozen=True)
class Scenario:
    """Choose the kinds of clients, their numbers, rates and limits."""

    kinds: tuple[str, ...] = KINDS
    name: str = ""
    paths: tuple[str, ...] = ()
    connections: int = 16
    rate: float = 350.0
    pause: float = 0.010
    distance: float = 0.040
    new_rate: float = 50.0
    post_rate: float = 20.0
    slow_clients: int = 4
    slow_seconds: float = 5.0
    uploads: int = 2
    upload_bytes: int = 20_000_000
    upload_seconds: float = 6.0
    sockets: int = 5
    ping_seconds: float = 1.0
    pong_seconds: float = 5.0
    patience: float = 20.0
    warm_seconds: float = 10.0
    minimums: Mapping[str, int] = field(default_factory=lambda: dict(MINIMUMS))

    def __post_init__(self) -> None:
        """Refuse kinds that nobody would run, so that a typing error cannot turn a run green."""
        unknown = {*self.kinds} - {*KINDS} | {*self.minimums} - {*MINIMUMS}
        if unknown or not self.kinds:
            raise ValueError(f"unknown kinds or minimums: {sorted(unknown)}; known: {KINDS}")
        object.__setattr__(self, "kinds", tuple(self.kinds))
        object.__setattr__(self, "paths", tuple(self.paths))
        object.__setattr__(self, "minimums", {**MINIMUMS, **self.minimums})

    @property
    def grace(self) -> float:
        """Bound how long requests in flight may take to finish after the stop."""
        return max(self.slow_seconds, self.upload_seconds, self.pong_seconds) + self.patience + 5

    def plain(self) -> dict[str, Any]:
        """Give the scenario as values that JSON can carry."""
        return asdict(self)


async def rest(stopping: asyncio.Event, seconds: float) -> None:
    """Wait for some seconds, or until the run is stopping."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stopping.wait()
