"""Sites on the real engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.hosts.ssh import SshHost
from tests import sshd
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


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sshd.Sshd]:
    """An SSH server on loopback that lets us in."""
    with sshd.running(tmp_path_factory.mktemp("sshd")) as made:
        yield made


@pytest.fixture
def remote(server: sshd.Sshd) -> Iterator[SshHost]:
    """It as a host."""
    made = sshd.host_of(server)
    yield made
    made.close()


@pytest.fixture
def gateway(server: sshd.Sshd, tmp_path: Path) -> Iterator[sshd.Sshd]:
    """Another one in front of it, on which nothing may run."""
    with sshd.running(tmp_path / "gateway", sshd.HARDENED, user=server.folder / "user") as made:
        yield made
