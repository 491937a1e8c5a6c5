"""Pure tests: no network at all."""

from __future__ import annotations

import pytest

from tests.support import network


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    network.block(monkeypatch, loopback=False)
