"""Sites on the real engine, and the order of their tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling  # type: ignore[import-untyped]  # it has no types

from deploy.hosts.local import LocalHost
from deploy.hosts.ssh import SshHost
from deploy.images import bases
from tests.machines import Fleet, Machine, fleet
from tests.support import sshd
from tests.support.nested import Nested, engines
from tests.support.site import ROOT, Site, make_bookreader, make_tiny

# files of one worker, since they share a site or engines that take long to start
TOGETHER = (
    ("test_drill", "test_tasks", "test_migrations", "test_edge", "test_images", "test_rolling"),
    ("test_scan", "test_shipping", "test_registry"),
)
# a small site, then what takes longest: all workers end at about the same time
FIRST = [
    "test_tiny", "test_backup", *TOGETHER[0], "test_provisioning", "test_monitoring",
    "test_tutorial", "test_quickstart", "test_fleet", "test_workflows", *TOGETHER[1], "test_interrupted",
    "test_shared_and_warm", "test_template", "test_reproducible", "test_dev",
]  # fmt: skip


class WholeFiles(LoadFileScheduling):  # type: ignore[misc]
    """Gives each worker whole files, and those that belong together to one."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(super()._split_scope(nodeid))
        if file.parent.name == "bad_input":  # one site for all of them
            return file.parent.name
        return next((files[0] for files in TOGETHER if file.stem in files), str(file))

    def _reschedule(self, node: Any) -> None:
        """Give a worker its next files when it begins the last test of those before: many files have one long test."""
        if not self.workqueue or self._pending_of(self.assigned_work[node]) < 2:
            super()._reschedule(node)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> WholeFiles | None:
    """Schedule whole files where `--dist=loadfile` was said."""
    return WholeFiles(config, log) if config.getoption("dist") == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave second cases to the nights.

    Begin with a small site, then the files that take longest, other folders first.
    """
    second = [item for item in items if item.get_closest_marker("night") and not os.environ.get("NIGHTS")]
    if second:
        config.hook.pytest_deselected(items=second)
        items[:] = [item for item in items if item not in second]
    places = {Path(__file__).with_name(f"{name}.py"): number for number, name in enumerate(FIRST)}
    here = Path(__file__).parent
    items.sort(key=lambda item: places.get(item.path, len(FIRST)) if here in item.path.parents else -1)


@pytest.fixture(scope="session", autouse=True)
def base_images(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Have every base image before the first test, made by one worker while the others wait."""
    whole_run = tmp_path_factory.getbasetemp().parent
    with (whole_run / "base-images.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        bases.prepare(ROOT, "auto", bases.read(ROOT), LocalHost())


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Site]:
    """A tiny site that nothing was deployed to."""
    site = make_tiny(tmp_path)
    site.name_images()
    yield site
    site.sweep()


@pytest.fixture(scope="session")
def bookreader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The reference app with a first release in service."""
    site = make_bookreader(tmp_path_factory.mktemp("bookreader"))
    site.name_images()
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
def stores() -> Iterator[dict[str, Nested]]:
    """A nested engine on each image store."""
    with engines("containerd", "classic") as (containerd, classic):
        yield {"containerd": containerd, "classic": classic}


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
