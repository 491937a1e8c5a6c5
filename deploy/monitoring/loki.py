"""Lines that a host's Loki keeps: also those of a container that was removed since, under the same name."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlencode

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import acting
from deploy.hosts.host import Host
from deploy.monitoring.stack import CONFIG

FILE = f"{CONFIG}/loki.yml"  # is in the state folder where `inv monitor.up` has started it
PAGES = (1000, 50)  # lines at once; long ones exceed what a host answers, and are asked for by fewer
WITHIN = 10.0  # seconds
BILLION = 10**9


class Kept:
    """What the hosts' Lokis keep; one that does not answer is named once, and not asked again."""

    def __init__(self, at: Environment, hosts: Iterable[Host]) -> None:
        self.settings = at.settings
        found, _ = at.gather(lambda host: host.read(self.settings.state_dir / FILE) is not None, [*hosts])
        self.hosts = {name for name, there in found.items() if there}

    def lines(self, host: Host, container: str, since: str) -> Iterator[tuple[str, str]]:
        """Yield what a container printed since a time, oldest first: when, as the engine writes it, and the text."""
        start = since
        while host.name in self.hosts:
            answer = self.page(host, container, start)
            if answer is None:
                self.hosts.discard(host.name)
                words = f"Loki of {host.name} does not answer: shown is what the engine keeps; inv monitor.up starts it"
                console.warn(acting(words, self.settings.env))
                return
            rows, whole = answer
            yield from ((written(moment), text) for moment, text in rows)
            if whole:
                return
            start = written(rows[-1][0] + 1)

    def page(self, host: Host, container: str, start: str) -> tuple[list[tuple[int, str]], bool] | None:
        """Ask for the first lines since a time, and whether these are all; None where it does not answer."""
        for limit in PAGES:
            status, body = host.get(self.settings.monitor.loki_port, question(container, start, limit), timeout=WITHIN)
            if status != 200:
                return None
            with suppress(ValueError, LookupError, TypeError):
                rows = read(body)
                return rows, len(rows) < limit
        return None


def question(container: str, start: str, limit: int) -> str:
    """Make the path that asks for a container's lines. Pure."""
    words = {"query": f"{{container={json.dumps(container)}}}", "start": start, "limit": limit, "direction": "forward"}
    return f"/loki/api/v1/query_range?{urlencode(words)}"


def read(body: str) -> list[tuple[int, str]]:
    """Read lines off an answer, of all streams in the order of time: nanoseconds, text. Pure."""
    streams = json.loads(body)["data"]["result"]
    return sorted((int(moment), text.rstrip("\r\n")) for one in streams for moment, text, *_ in one["values"])


def written(moment: int) -> str:
    """Write a time as the engine does. Pure."""
    return f"{datetime.fromtimestamp(moment // BILLION, UTC):%Y-%m-%dT%H:%M:%S}.{moment % BILLION:09}Z"
