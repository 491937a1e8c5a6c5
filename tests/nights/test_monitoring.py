"""Every fault of `inv monitor.verify` on BookReader, three times each: who is notified, and after how many seconds.

`tests/integration/test_monitoring.py` has a stopped service on a small site.
"""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.core.poll import wait_until
from tests.support.listener import listening
from tests.support.site import Site, docker, free_port, make_bookreader

GRACE = 60  # seconds that who waits for signs of life gives them
FAULTS = {
    "stop-backend", "stop-worker", "stop-beat", "stop-postgres", "stop-redis", "stop-edge", "kill-worker", "hang-redis",
    "errors", "fill-disk", "stop-backups", "crash-worker", "kill-prometheus", "kill-alertmanager", "stop-receiver",
}  # fmt: skip


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A small file system of this machine, there before monitoring begins."""
    image, place = tmp_path / "small.img", tmp_path / "small"
    place.mkdir()
    subprocess.run(["truncate", "--size=64M", str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture
def library(tmp_path: Path, small: Path) -> Iterator[Site]:
    """BookReader in service, watched."""
    site = make_bookreader(tmp_path)
    ports = {"OPS_MONITOR__PROMETHEUS_PORT": str(free_port()), "OPS_MONITOR__ALERTMANAGER_PORT": str(free_port())}
    site.extra.update(ports, OPS_NOTIFY__ON="[]")
    try:
        yield site
    finally:
        site.inv("monitor.down", code=None)
        project = f"label=com.docker.compose.project={site.app}-local-monitoring"
        docker("volume", "rm", "--force", *docker("volume", "ls", "-q", "--filter", project).split())
        site.sweep()


def test_each_fault_is_in_somebodys_hand_in_time(library: Site, record_property: Callable[[str, object], None]) -> None:
    """A service stopped, killed, hung, crashing or cut off, a full disk, no backups, the watching itself killed."""
    with listening() as people:
        secrets = library.root / ".env.local"
        secrets.write_text(f"{secrets.read_text()}NOTIFY_URLS={people.url}\n")
        library.inv("deploy")
        library.inv("monitor.up")
        verified = library.inv("monitor.verify", "--times=3", "--json", code=None).document
    record_property("report", {one["fault"]: one["evidence"] for one in verified["faults"]})
    assert {one["fault"] for one in verified["faults"]} == FAULTS
    assert {one["fault"]: one["evidence"] for one in verified["faults"] if one["result"] != "PASS"} == {}
    assert verified["critical"]["result"] == "PASS", verified["critical"]


def test_who_waits_off_the_host_knows_when_what_watches_is_gone(
    library: Site, record_property: Callable[[str, object], None]
) -> None:
    """All of the monitoring host is killed at once; nobody there is left to say so."""
    with listening() as elsewhere:
        secrets = library.root / ".env.local"
        address = elsewhere.url.replace("json", "http")
        secrets.write_text(
            f"{secrets.read_text()}NOTIFY_URLS={elsewhere.url}\nHEARTBEAT_URL={address}/books-{{host}}\n"
        )
        library.inv("deploy")
        library.inv("monitor.up")
        assert wait_until(lambda: len(elsewhere.beats) > 4, 150)
        gaps = [later - earlier for earlier, later in itertools.pairwise(elsewhere.beats)]
        assert max(gaps) < GRACE, "nobody is called for nothing"
        killed, project = time.monotonic(), f"label=com.docker.compose.project={library.app}-local-monitoring"
        docker("kill", *docker("ps", "-q", "--filter", project).split())
        assert wait_until(lambda: time.monotonic() - elsewhere.beats[-1] > GRACE, 120)
    record_property(
        "report", f"killed -> known elsewhere: {time.monotonic() - killed:.0f} s; gaps {max(gaps):.0f} s at most"
    )
