"""From a bare Debian 12 host to BookReader running on it, by one command."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests.site import ROOT, Site, copy_checkout, docker

LABEL = "bookreader-ops.test-host"
# what a fresh machine has: git, Python, and the certificates that its administrator installed
PACKAGES = ("git", "python3", "ca-certificates")
OWN_CA = Path("/usr/local/share/ca-certificates")


@pytest.fixture
def bare_host(tmp_path: Path) -> Iterator[str]:
    """A privileged container that is a whole host, with a clone of this checkout and nothing else."""
    name = f"bare-{uuid.uuid4().hex[:8]}"
    base = bases.Base("bare-host", "", "bookworm", "minbase", PACKAGES, recipe=f"{'-'.join(PACKAGES)}-1")
    if not bases.present(base.local_tag, LocalHost()):
        bases.build(base, ROOT, LocalHost())
    volumes = [f"--volume={name}-{place}:/var/lib/{place}" for place in ("docker", "containerd")]
    docker("run", "--detach", "--privileged", "--init", f"--name={name}", f"--label={LABEL}", *volumes,
           f"--volume={OWN_CA}:{OWN_CA}:ro", base.local_tag, "sleep", "infinity")  # fmt: skip
    try:
        run(name, "update-ca-certificates")
        site = Site(tmp_path)
        copy_checkout(site)
        site.git("bundle", "create", str(tmp_path / "checkout.bundle"), "HEAD")
        docker("cp", str(tmp_path / "checkout.bundle"), f"{name}:/root/checkout.bundle")
        run(name, "git", "clone", "--quiet", "/root/checkout.bundle", "/root/bookreader-ops")
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True)
        subprocess.run(["docker", "volume", "rm", f"{name}-docker", f"{name}-containerd"], capture_output=True)


def run(host: str, *words: str, folder: str = "/root") -> str:
    """Run a command on a host; fail the test with its output unless it ends with 0."""
    ran = subprocess.run(["docker", "exec", f"--workdir={folder}", host, *words], capture_output=True, text=True, timeout=1500)
    assert ran.returncode == 0, f"{' '.join(words)} ended with {ran.returncode}\n{ran.stdout[-3000:]}\n{ran.stderr[-6000:]}"
    return ran.stdout + ran.stderr


def test_quickstart_on_a_bare_debian_12_host(bare_host: str) -> None:
    """It says what it installs, ends with the URL and the next commands, and a second run takes seconds."""
    said = run(bare_host, "./scripts/quickstart", folder="/root/bookreader-ops")
    sys.stdout.write(said)
    assert "installing docker.io" in said
    assert "starting dockerd" in said
    assert "http://127.0.0.1:8080" in said
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/api/version').read().decode())"
    assert '"release"' in run(bare_host, "python3", "-c", ask)

    # the engine dies with its pid file left behind: quickstart starts it again
    run(bare_host, "python3", "-c", KILL_ENGINE)
    began = time.monotonic()
    again = run(bare_host, "./scripts/quickstart", folder="/root/bookreader-ops")
    assert "starting dockerd" in again
    assert "installing" not in again
    assert '"release"' in run(bare_host, "python3", "-c", ask)
    assert time.monotonic() - began < 60

    began = time.monotonic()
    assert "nothing to do" in run(bare_host, "./scripts/quickstart", folder="/root/bookreader-ops")
    assert time.monotonic() - began < 20


# procps is not on a bare host
KILL_ENGINE = """
import os, pathlib, signal, time
names = {"dockerd", "containerd"}
def found():
    return [int(p.parent.name) for p in pathlib.Path("/proc").glob("[0-9]*/comm") if p.read_text().strip() in names]
for pid in found():
    os.kill(pid, signal.SIGKILL)
while found():
    time.sleep(0.05)
assert pathlib.Path("/var/run/docker.pid").exists()
"""
