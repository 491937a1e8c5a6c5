"""Pure tests: no network at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import network
from tests.support.scanning import Bench


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    network.block(monkeypatch, loopback=False)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)
