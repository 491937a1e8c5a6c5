"""Tests of execution on fakes: loopback at most."""

from __future__ import annotations

import pytest

from tests import network


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    network.block(monkeypatch, loopback=True)
