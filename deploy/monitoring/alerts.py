"""What fires on a host, by its Alertmanager, and what its receiver has sent to people."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from deploy.core.shell import query
from deploy.hosts.host import Host


@dataclass(frozen=True)
class Alert:
    """An alert, by what it says happened and of which service; empty where it is of none."""

    name: str
    service: str
    severity: str = ""


@dataclass(frozen=True)
class Notification:
    """What the receiver has sent: when, as the engine writes it; whether somebody has taken it; whether it is over."""

    time: str
    alerts: tuple[Alert, ...]
    taken: bool
    resolved: bool


def firing(host: Host, port: int) -> frozenset[Alert] | None:
    """Return the alerts that fire; None where Alertmanager does not answer."""
    status, body = host.get(port, "/api/v2/alerts?active=true&inhibited=false&silenced=false", timeout=5)
    with suppress(ValueError, LookupError, TypeError):
        return frozenset(map(alert_of, (one["labels"] for one in json.loads(body)))) if status == 200 else None
    return None


def alert_of(labels: dict[str, str]) -> Alert:
    """Read an alert off its labels. Pure."""
    return Alert(labels["alertname"], labels.get("service", ""), labels.get("severity", ""))


def last_line(host: Host, receiver: str) -> str:
    """Return when the receiver's last line was written; empty where it has none."""
    lines = host.try_run(query("docker", "logs", "--timestamps", "--tail=1", receiver)).stdout.split()
    return lines[0] if lines else ""


def sent(host: Host, receiver: str, after: str) -> tuple[Notification, ...]:
    """Return what the receiver has sent after a time of its log."""
    since = [f"--since={after}"] if after else []
    return tuple(read(host.try_run(query("docker", "logs", "--timestamps", *since, receiver)).stdout, after))


def read(printed: str, after: str) -> Iterator[Notification]:
    """Read the receiver's log; lines that are no notification are passed over. Pure."""
    for line in printed.splitlines():
        written, _, words = line.partition(" ")
        with suppress(ValueError, LookupError, TypeError):
            answer = json.loads(words)
            alerts = tuple(map(alert_of, answer["notified"]))
            if written > after:
                yield Notification(written, alerts, answer["taken"], answer["status"] == "resolved")
