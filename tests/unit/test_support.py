"""What keeps tests that run side by side out of each other's way."""

from __future__ import annotations

from itertools import islice

from tests.support.site import PORTS, ports


def test_no_port_is_of_two_workers_and_none_is_given_away_by_the_kernel() -> None:
    first, second = ({*islice(ports(worker), PORTS * 2)} for worker in ("gw0", "gw1"))
    assert len(first) == len(second) == PORTS
    assert not first & second
    assert max(first | second) < 32_768
