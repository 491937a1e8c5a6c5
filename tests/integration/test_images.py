"""What the images hold and how their containers run."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.site import Site, docker

APP = ("backend", "worker", "beat")


def inspect(site: Site, service: str) -> Any:
    """The engine's description of a live service's container."""
    colour = site.inv("status", "--json").document["colour"]
    name = f"{site.app}-local-{colour}-{service}-{colour}-1" if service in APP else f"{site.app}-local-{service}-1"
    return json.loads(docker("inspect", name))[0]


@pytest.mark.parametrize("service", [*APP, "edge", "postgres", "redis"])
def test_a_container_may_do_no_more_than_it_must(bookreader: Site, service: str) -> None:
    """Non-root, read-only root file system, no capabilities, limits, log rotation, a restart policy."""
    seen = inspect(bookreader, service)
    host = seen["HostConfig"]
    assert seen["Config"]["User"].split(":")[0] in ("10001", "999")
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["NanoCpus"] > 0
    assert host["LogConfig"]["Config"]["max-size"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert seen["State"]["Health"]["Status"] == "healthy"


def test_the_edge_cannot_reach_the_database(bookreader: Site) -> None:
    """Neither by name nor by address; the backend can, so the addresses are right."""
    address = next(iter(inspect(bookreader, "postgres")["NetworkSettings"]["Networks"].values()))["IPAddress"]
    edge = f"{bookreader.app}-local-edge-1"
    for place in ("postgres", address):
        ran = subprocess.run(
            ["docker", "exec", edge, "busybox", "nc", "-w", "2", place, "5432"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
        )
        assert ran.returncode != 0, place
    backend = inspect(bookreader, "backend")["Name"].lstrip("/")
    docker("exec", backend, "python", "-c", f"import socket; socket.create_connection(('{address}', 5432), 2)")


def test_labels_say_what_an_image_was_built_from(bookreader: Site) -> None:
    """OCI labels; `created` is the commit's time."""
    labels = inspect(bookreader, "backend")["Config"]["Labels"]
    commit = labels["org.opencontainers.image.revision"]
    time = bookreader.git(
        "show", "--no-patch", "--format=%cd", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", commit
    ).strip()
    assert labels["org.opencontainers.image.created"] == time
    assert labels["org.opencontainers.image.version"] == commit[:12]


def test_the_backend_image_holds_the_tracked_code_and_no_more(bookreader: Site) -> None:
    """Tests, caches, editors' files and secrets stay outside, also when they lie beside the code."""
    bookreader.write("backend/bookreader/__pycache__/old.pyc", "left by an interpreter")
    bookreader.write("backend/.env", "SECRET=1")
    bookreader.inv("build")
    image = f"{bookreader.app}/backend"
    code = "import os; print('\\n'.join(os.path.relpath(os.path.join(p, f), '/app') for p, _, fs in os.walk('/app') for f in fs))"
    inside = {name for name in docker("run", "--rm", image, "python", "-c", code).split() if "__pycache__" not in name}
    tracked = bookreader.git("ls-files", "backend/bookreader", "backend/migrations", "backend/alembic.ini").split()
    assert inside == {name.removeprefix("backend/") for name in tracked}
    listed = docker("run", "--rm", image, "python", "-c", code.replace("/app", "/app/bookreader/__pycache__"))
    assert "old.pyc" not in listed


def test_caches_are_exported_per_image(tiny: Site, tmp_path: Path) -> None:
    """One folder per image: a shared one would keep the last image only."""
    place = tmp_path / "cache"
    tiny.inv(
        "build",
        "--no-cache",
        OPS_BUILD__CACHE_TO=f'["type=local,dest={place}"]',
        OPS_BUILD__CACHE_FROM=f'["type=local,src={place}"]',
    )
    assert sorted(folder.name for folder in place.iterdir()) == ["app", "edge"]
