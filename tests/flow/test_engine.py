"""The Docker engines of many hosts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest

from deploy.errors import Unreachable
from deploy.hosts.engine import Engine


def test_engines_are_connected_to_at_once() -> None:
    """One host that does not answer keeps no other waiting."""
    both = Barrier(2)

    def dial() -> Any:
        both.wait(10)
        raise Unreachable("the connection to it broke")

    def connect(engine: Engine) -> None:
        with pytest.raises(Unreachable):
            engine.require()

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(connect, [Engine("a", dial), Engine("b", dial)])) == [None, None]
