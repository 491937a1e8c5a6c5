"""No worker that is told to stop takes tasks into its grave.

Test_no_request_lost.py has those of deploys and rollbacks.
"""

from __future__ import annotations

import time

import pytest

from deploy.core.poll import wait_until
from tests.support.site import Site, docker


@pytest.mark.parametrize("service", ["backend", "worker", "beat"])
def test_what_is_stopped_while_it_starts_ends_at_once(bookreader: Site, service: str) -> None:
    """A release that fails is taken back within a second of its start: long before a program has its handlers."""
    [name] = [name for name, state in bookreader.containers().items() if f"-{service}-" in name and state == "running"]
    docker("stop", name)
    docker("start", name)
    began = time.monotonic()
    docker("stop", "--time", "20", name)
    took, killed = time.monotonic() - began, docker("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "137"
    docker("start", name)
    assert wait_until(lambda: docker("inspect", "--format", "{{.State.Health.Status}}", name).strip() == "healthy", 60)
    assert not killed, f"{service} was killed after {took:.1f} s"
