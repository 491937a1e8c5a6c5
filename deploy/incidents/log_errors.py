"""Errors in what services print, grouped: the same error with other numbers is one. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deploy.rollout import edge_log

ERROR = re.compile(r"\b(error|critical|fatal|panic|exception|emerg|oomkilled)\b|\w(Error|Exception)\b", re.IGNORECASE)
OPENING = "Traceback (most recent call last)"  # its last line says what it was
STAMP = re.compile(r"\d{4}[-/]\d\d[-/]\d\d[T ][\d:.,]+(Z|[+-]\d\d:?\d\d)?")
CHANGING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{8,}(-[0-9a-f]{4,})*\b|\d+", re.IGNORECASE)
LONGEST = 120  # characters of a line that are shown
KINDS = 4  # so many groups are shown of one host


@dataclass(frozen=True)
class Group:
    """One error of a service: how often, and the last line of it."""

    service: str
    times: int
    last: str

    def __str__(self) -> str:
        return f"{self.service}, {self.times} time(s): {self.last}"


@dataclass(frozen=True)
class Requests:
    """What visitors were answered lately: how many requests, how many with 5xx, and the path of most of these."""

    total: int
    errors: int
    path: str = ""

    @property
    def share(self) -> float:
        """The share of 5xx."""
        return self.errors / self.total if self.total else 0.0

    def __str__(self) -> str:
        worst = f", most for {self.path}" if self.path else ""
        return f"{self.errors} of {self.total} requests got a 5xx{worst}"


def grouped(printed: Mapping[str, str]) -> tuple[Group, ...]:
    """Group the errors in what services printed, the most frequent first. Pure."""
    groups: dict[tuple[str, str], list[str]] = {}
    for service, text in printed.items():
        for line in map(str.strip, text.splitlines()):
            if ERROR.search(line) and OPENING not in line and edge_log.parse(line) is None:
                groups.setdefault((service, kind(line)), []).append(line)
    every = [Group(service, len(lines), shortened(lines[-1])) for (service, _), lines in groups.items()]
    return tuple(sorted(every, key=lambda group: -group.times))


def kind(line: str) -> str:
    """Take out of a line what differs each time. Pure."""
    return CHANGING.sub("N", STAMP.sub("", line))


def shortened(line: str) -> str:
    """Take the time off a line, and cut it where it is long. Pure."""
    line = STAMP.sub("", line).strip(" -:|") or line
    return line if len(line) <= LONGEST else f"{line[:LONGEST]} ..."


def last_words(text: str, lines: int = 2) -> str:
    """Return the last lines that a container printed, as one. Pure."""
    own = [line for line in map(str.strip, text.splitlines()) if line]
    return " / ".join(map(shortened, own[-lines:]))


def requests(lines: Iterable[str]) -> Requests:
    """Count what the edge's log says of visitors. Pure."""
    read = [request for line in lines if (request := edge_log.parse(line))]
    bad = [request for request in read if request.status >= 500]
    paths: Sequence[str] = [request.path for request in bad if request.path]
    return Requests(len(read), len(bad), max(set(paths), key=paths.count, default=""))
