"""Sites on the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

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
