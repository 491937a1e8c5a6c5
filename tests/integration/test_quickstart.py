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
from tests.support.site import ROOT, Site, copy_checkout, docker

LABEL = "bookreader-ops.test-host"
# what a fresh machine has: git, Python, and the certificates that its administrator installed
CHECKOUT = "/root/bookreader-ops"
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
        run(name, "git", "clone", "--quiet", "/root/checkout.bundle", CHECKOUT)
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True)
        subprocess.run(["docker", "volume", "rm", f"{name}-docker", f"{name}-containerd"], capture_output=True)


def run(host: str, *words: str, folder: str = "/root") -> str:
    """Run a command on a host; fail the test with its output unless it ends with 0."""
    ran = subprocess.run(
        ["docker", "exec", f"--workdir={folder}", host, *words], capture_output=True, text=True, timeout=1500
    )
    assert ran.returncode == 0, (
        f"{' '.join(words)} ended with {ran.returncode}\n{ran.stdout[-3000:]}\n{ran.stderr[-6000:]}"
    )
    return ran.stdout + ran.stderr


def test_quickstart_on_a_bare_debian_12_host(bare_host: str) -> None:
    """It says what it installs, ends with the URL and the next commands, and a second run takes seconds."""
    said = run(bare_host, "./scripts/quickstart", folder=CHECKOUT)
    sys.stdout.write(said)
    assert "installing docker.io" in said
    assert "starting dockerd" in said
    assert "http://127.0.0.1:8080" in said
    ask = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/api/version').read().decode())"
    assert '"release"' in run(bare_host, "python3", "-c", ask)

    # the engine dies with its pid file left behind: quickstart starts it again
    run(bare_host, "python3", "-c", KILL_ENGINE)
    began = time.monotonic()
    again = run(bare_host, "./scripts/quickstart", folder=CHECKOUT)
    assert "starting dockerd" in again
    assert "installing" not in again
    assert '"release"' in run(bare_host, "python3", "-c", ask)
    assert time.monotonic() - began < 60

    began = time.monotonic()
    assert "nothing to do" in run(bare_host, "./scripts/quickstart", folder=CHECKOUT)
    assert time.monotonic() - began < 20

    on_the_classic_store_as_a_member_of_the_docker_group(bare_host, ask)


def on_the_classic_store_as_a_member_of_the_docker_group(host: str, ask: str) -> None:
    """With a usable Docker nothing on the system is changed; the classic store is named with what it cannot do."""
    inv = ".venv/bin/inv"
    run(host, inv, "down", "--volumes", "--yes", folder=CHECKOUT)
    tags = run(
        host, "docker", "image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=ops-base/*"
    ).split()
    run(host, "docker", "save", "--output", "/root/bases.tar", *tags)
    run(host, "python3", "-c", KILL_ENGINE)
    run(host, "python3", "-c", "open('/etc/docker/daemon.json', 'w').write('{}')")
    run(host, "python3", "scripts/bootstrap.py", folder=CHECKOUT)
    run(host, "docker", "load", "--input", "/root/bases.tar")

    run(host, "useradd", "--create-home", "--groups=docker", "dev")
    run(host, "chmod", "a+rx", "/root")
    as_dev = ("runuser", "--user=dev", "--", "env", "HOME=/home/dev", "USER=dev", "LOGNAME=dev")
    run(host, *as_dev, "git", "clone", "--quiet", "/root/checkout.bundle", "/home/dev/ours")
    before = run(host, "dpkg-query", "--show")
    said = run(host, *as_dev, "sh", "-c", "umask 077; ./scripts/quickstart", folder="/home/dev/ours")
    sys.stdout.write(said)
    assert run(host, "dpkg-query", "--show") == before
    assert "classic image store" in said
    assert '"release"' in run(host, "python3", "-c", ask)
    assert "containerd-snapshotter" in run(host, *as_dev, inv, "doctor", folder="/home/dev/ours")
    run(host, *as_dev, inv, "down", folder="/home/dev/ours")


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
