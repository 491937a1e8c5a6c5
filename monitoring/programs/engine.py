"""Ask the Docker engine of the host, and read what it answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote

LABEL, SOCKET = "bookreader-ops", "/var/run/docker.sock"


class Engine(HTTPConnection):
    """A connection to the Docker engine's socket."""

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(3)
        self.sock.connect(SOCKET)


def ask(path: str) -> bytes:
    """Ask the engine; nothing for what is gone meanwhile. Raises OSError or HTTPException when it does not answer."""
    engine = Engine("engine")
    try:
        engine.request("GET", path)
        answer = engine.getresponse()
        body = answer.read()
    finally:
        engine.close()
    if answer.status not in (200, 404):
        raise OSError(f"the engine answers {answer.status}")
    return body if answer.status == 200 else b""


def containers(environment: str) -> list[dict[str, Any]]:
    """Inspect one environment's containers, one-off ones left out."""
    chosen = quote(json.dumps({"label": [f"{LABEL}={environment}"]}))
    listed = json.loads(ask(f"/containers/json?all=1&filters={chosen}"))
    ids = [one["Id"] for one in listed if one["Labels"].get("com.docker.compose.oneoff") != "True"]
    return [json.loads(answer) for answer in map(ask, (f"/containers/{one}/json" for one in ids)) if answer]


def own_labels(container: Mapping[str, Any]) -> dict[str, str]:
    """Name what a container is. Pure."""
    labels = container["Config"]["Labels"]
    words = {word: labels.get(f"{LABEL}.{word}", "") for word in ("service", "role", "colour", "release")}
    return {"container": container["Name"].lstrip("/"), **words}


def log_files(inspected: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Say where the engine writes each container's log, and of what that is, as targets for Alloy. Pure.

    Also of containers that have stopped: whoever forgets one reads it again from its beginning.
    """
    files = ((own_labels(one), one.get("LogPath")) for one in inspected)
    return [
        {
            "targets": ["localhost"],
            "labels": {"__path__": path, **{word: own[word] for word in ("service", "container", "colour")}},
        }
        for own, path in files
        if path
    ]


def printed(stream: bytes) -> Iterator[tuple[str, str]]:
    """Split what the engine has of a log into lines: time, text. Pure.

    Each part has a header of eight bytes:
    https://docs.docker.com/reference/api/engine/#tag/Container/operation/ContainerAttach
    """
    parts, at = list[bytes](), 0
    while at + 8 <= len(stream):
        size = int.from_bytes(stream[at + 4 : at + 8], "big")
        parts.append(stream[at + 8 : at + 8 + size])
        at += 8 + size
    for line in b"".join(parts).decode(errors="replace").splitlines():
        written, _, words = line.partition(" ")
        yield written, words
