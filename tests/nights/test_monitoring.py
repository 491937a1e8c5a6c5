"""Every fault of `inv monitor.verify` on BookReader, three times each: who is notified, and after how many seconds.

`tests/integration/test_monitoring.py` has a stopped service on a small site.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.listener import listening
from tests.support.site import Site, docker, free_port, make_bookreader

ROUNDS = 3
LONG = 2400  # seconds for three rounds
# three sites, so that each of them is within the time that one night may take
FAULTS = {
    "somebody watches, visitors or data are hurt": {
        "stop-backend", "stop-worker", "stop-beat", "stop-postgres", "stop-redis", "stop-edge", "kill-worker",
        "hang-redis", "errors", "fill-disk", "crash-worker",
    },
    "somebody must look today": {"stop-backups", "slow-answers", "stop-receiver"},
    "the watching itself": {"fail-address", "kill-prometheus", "kill-alertmanager"},
}  # fmt: skip


@dataclass
class Story:
    """What a night came to, for its row of docs/nights.md."""

    story: list[str] = field(default_factory=list)


@pytest.fixture
def figures() -> Story:
    """What the row of this night says."""
    return Story()


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A small file system of this machine, there before monitoring begins, below a folder that root alone may enter."""
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


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_is_in_somebodys_hand_in_time(library: Site, figures: Story, kind: str) -> None:
    """A service stopped, killed, hung, slow, crashing or cut off, a full disk; no backups; the watching itself killed."""
    library.within = LONG
    with listening() as people:
        watched(library, f"NOTIFY_URLS={people.url}", f"HEARTBEAT_URL={people.url.replace('json', 'http')}/alive")
        only = f"--only={','.join(sorted(FAULTS[kind]))}"
        verified = library.inv("monitor.verify", only, f"--times={ROUNDS}", "--json", code=None)
    assert "faults" in verified.stdout, f"{verified.stdout}\n{verified.stderr}"
    faults, critical = verified.document["faults"], verified.document["critical"]
    figures.story += [f"{name} {seconds(faults, name)} s" for name in sorted(FAULTS[kind])]
    if critical:
        figures.story.append(f"critical, of {critical['number']}: p95 {critical['p95']} s, worst {critical['worst']} s")
    assert Counter(one["fault"] for one in faults) == dict.fromkeys(FAULTS[kind], ROUNDS)
    assert {one["fault"]: one["evidence"] for one in faults if one["result"] != "PASS"} == {}
    assert not critical or critical["result"] == "PASS", critical


def watched(site: Site, *secrets: str) -> None:
    """Put a release into service and start monitoring, with these secrets."""
    file = site.root / ".env.local"
    file.write_text("\n".join([file.read_text().rstrip(), *secrets, ""]))
    site.inv("deploy")
    site.inv("monitor.up")


def seconds(faults: list[dict[str, Any]], name: str) -> str:
    """Write how long the notifications of a fault took, in each round."""
    return ", ".join(str(one["seconds"] or one["evidence"]) for one in faults if one["fault"] == name)
