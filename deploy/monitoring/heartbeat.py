"""The sign of life that leaves a host: whoever waits for it elsewhere says that what watches there is gone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from deploy.config import secrets
from deploy.config.settings import Settings
from deploy.core.errors import refuse
from deploy.site.checks import Check

KEY = "HEARTBEAT_URL"
HOST, UNSET = "{host}", "is not set"
OLDEST = 60.0  # seconds: it goes every twenty
THEN = f"add {KEY} to the secrets file, then inv monitor.up"


def addresses(settings: Settings, hosts: Sequence[str]) -> dict[str, str]:
    """Return where each host sends its sign of life, by name; empty where none is set.

    Raises Refused for what is no address of HTTP, and for one that several hosts share: a host that is gone would be
    hidden by the others.
    """
    address = secrets.own(settings, KEY)
    mistakes = [
        *(["it does not begin with http:// or https://"] if not address.startswith(("http://", "https://")) else []),
        *([f"{len(hosts)} hosts share it: put {HOST} into it"] if len(hosts) > 1 and HOST not in address else []),
    ]
    then = f"change {KEY}, then inv monitor.up"
    refuse(
        f"{KEY} cannot be used:", mistakes if address else [], where=settings.secrets_name, then=then,
        slug="heartbeat-invalid",
    )  # fmt: skip
    return {host: address.replace(HOST, host) for host in hosts}


def judge(prefix: str, address: str, answer: Any) -> Check:
    """Judge whether a sign of life has left a host lately, by the age that Prometheus has of the last one. Pure."""
    asked = f"{prefix}a sign of life leaves the host"
    if not address:
        return Check(asked, "UNKNOWN", f"{KEY} {UNSET}: if the host is gone, nobody says so", THEN)
    if not answer or not answer["result"]:
        return Check(asked, "UNKNOWN", "the receiver does not say when", "inv monitor.up")
    age = float(answer["result"][0]["value"][1])
    if age > OLDEST:
        return Check(asked, "FAIL", f"{KEY} has taken none for a minute", f"open {KEY} from the host; inv monitor.up")
    return Check(asked, "PASS", f"{age:.0f} s ago")
