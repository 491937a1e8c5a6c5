"""Sites on the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.machines import Fleet, Machine, fleet
from tests.site import Site, make_bookreader, make_tiny


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Site]:
    """A tiny site that nothing was deployed to."""
    site = make_tiny(tmp_path)
    yield site
    site.sweep()


@pytest.fixture(scope="session")
def bookreader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The reference app with a first release in service."""
    site = make_bookreader(tmp_path_factory.mktemp("bookreader"))
    site.inv("deploy")
    yield site
    site.sweep()


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """What starts test hosts."""
    with fleet(tmp_path_factory.mktemp("operator")) as started:
        yield started


@pytest.fixture(scope="module")
def machine(machines: Fleet) -> Iterator[Machine]:
    """A server that one file's tests share."""
    started = machines.start()
    yield started
    machines.end(started)
