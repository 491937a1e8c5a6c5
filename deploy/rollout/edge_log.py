"""Read the edge's access log."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from deploy.core.errors import Interrupted, Unreachable
from deploy.core.shell import docker
from deploy.hosts.host import Host

BASELINE_SECONDS = 60
READ_SECONDS = 20  # a reading that takes longer hangs
# a line that is later than that was written while the clock was wrong; preflight lets clocks differ by half of it
AHEAD_SECONDS = 120
BYTE = re.compile(r"(?<!\\)\\x(?=[0-9a-f]{2})")  # how a host writes a byte that is not text
STAMP = re.compile(r"\d{4}-\d\d-\d\dT\S+Z$")
# how nginx writes that more than one upstream was asked for a request, in turn or after an internal redirect
NEXT_UPSTREAM = re.compile(r"\s*,\s*|\s+:\s+")


@dataclass(frozen=True)
class Request:
    """One line of the edge's access log.

    `at` in epoch seconds, `seconds` without the client's part where an app answered.
    """

    at: float
    release: str
    status: int
    seconds: float
    address: str = ""
    app: bool = True  # an app was asked, or should have been; otherwise the edge answered by itself
    path: str = ""  # of a GET


def parse(line: str) -> Request | None:
    """Read one line; None for what is no visitor's request, and for a WebSocket, whose duration says nothing."""
    try:
        entry: Any = json.loads(BYTE.sub(r"\\\\x", line))
        if entry.get("page") or entry["status"] == 101:
            return None
        upstream, seconds = (NEXT_UPSTREAM.split(entry[key])[-1].strip() for key in ("upstream", "upstream_seconds"))
        at = datetime.fromisoformat(entry["time"]).timestamp()
        path = entry.get("path", "") if entry.get("method") == "GET" else ""
        return Request(
            at, entry["release"], int(entry["status"]), float(entry["seconds"] if seconds in ("", "-") else seconds),
            upstream.rpartition(":")[0], bool(entry["upstream"]), path,
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


class EdgeLog:
    """The requests of the last minute and since, in the edge's log; each `read` goes on where the one before ended."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.since = f"{BASELINE_SECONDS}s"
        self.last = ""
        self.requests: list[Request] = []

    def read(self, edge: str) -> None:
        """Read what has come since; raise CommandFailed when it cannot be read."""
        text = self.host.run(
            docker("logs", "--timestamps", "--since", self.since, edge).as_query(), timeout=READ_SECONDS
        )
        before, ahead = self.last, (datetime.now(UTC) + timedelta(seconds=AHEAD_SECONDS)).isoformat()
        for line in text.split("\n"):  # not splitlines: a path may hold what Unicode calls an end of line
            stamp, _, text = line.partition(" ")
            if not STAMP.match(stamp) or stamp <= before or stamp > ahead:
                continue
            self.since = self.last = max(self.last, stamp)
            request = parse(text)
            if request:
                self.requests.append(request)


def remedy(host: Host, edge: str) -> str:
    """Say what makes the edge's log readable for good, and what that costs; by the driver that keeps it."""
    try:
        ask = docker("inspect", "--format", "{{.HostConfig.LogConfig.Type}} {{.LogPath}}", edge)
        answer = host.run(ask.as_query(), timeout=READ_SECONDS)
    except (Interrupted, Unreachable):
        raise
    except Exception:  # noqa: BLE001  # it is advice, no more
        return host.command_line(f"docker logs --since=1m {edge}") + " says why"
    driver, _, path = answer.strip().partition(" ")
    if driver != "json-file" or not path:
        return (
            f"the edge's log is kept by the driver {driver}: give it `logging: {{driver: json-file}}` in the compose "
            "file, and at a quiet moment inv deploy --include=edge; nothing is answered for some seconds"
        )
    # without the restart the engine goes on to read at the old length, and --tail shows nothing
    commands = " && ".join(
        host.command_line(line) for line in (f"truncate --size=0 {shlex.quote(path)}", f"docker restart {edge}")
    )
    effect = "it drops what the edge has logged, and nothing is answered for some seconds"
    return f"as root, at a quiet moment: {commands}; {effect}"
