"""The sign of life that leaves a host: where it goes, and how it is judged."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.config import secrets
from deploy.core.errors import Refused
from deploy.monitoring import heartbeat, stack
from tests.support import samples
from tests.support.monitored import run


def addresses(monkeypatch: pytest.MonkeyPatch, address: str, *hosts: str) -> dict[str, str]:
    monkeypatch.setattr(secrets, "own", lambda *_: address)
    return heartbeat.addresses(samples.settings(), hosts)


def test_each_host_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses(monkeypatch, "https://a/x-{host}", "h1", "h2") == {"h1": "https://a/x-h1", "h2": "https://a/x-h2"}
    assert addresses(monkeypatch, "", "h1", "h2") == {"h1": "", "h2": ""}


@pytest.mark.parametrize(
    ("address", "hosts", "reason"),
    [("https://a/x", ("h1", "h2"), "2 hosts share it"), ("file:///etc/passwd", ("h1",), "does not begin with http://")],
)
def test_what_would_hide_a_host_that_is_gone_is_refused(
    monkeypatch: pytest.MonkeyPatch, address: str, hosts: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(Refused, match=reason) as raised:
        addresses(monkeypatch, address, *hosts)
    assert (raised.value.slug, address in str(raised.value)) == ("heartbeat-invalid", False), "it holds a token"


def age(seconds: float) -> Any:
    return {"result": [{"value": [0, str(seconds)]}]}


@pytest.mark.parametrize(
    ("address", "answer", "result"),
    [
        ("", age(1), "UNKNOWN"),
        ("https://a/x", None, "UNKNOWN"),
        ("https://a/x", {"result": []}, "UNKNOWN"),
        ("https://a/x", age(21), "PASS"),
        ("https://a/x", age(61), "FAIL"),
    ],
)
def test_without_an_address_it_is_unknown(address: str, answer: Any, result: str) -> None:
    assert heartbeat.judge("", address, answer).result == result


def test_the_address_is_in_a_file_for_the_receiver_alone() -> None:
    own = stack.stack_of(run(), "json://a", "https://a/token")
    assert 'HEARTBEAT_URL="https://a/token"' in stack.private(own)["monitoring/receiver.env"]
