"""A server as a provider hands it over: Debian with systemd and sshd, root's key, and nothing else."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests.machines.machine import BOUND, banner
from tests.support.site import ROOT, SWEPT, docker

PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "ca-certificates", "procps")
PYTHON = ("python3", "python3-apt")  # as unattended-upgrades brings them, which images of providers have
# dpkg waits for the disk after each file otherwise
BOOT = """ssh-keygen -A >/dev/null; echo force-unsafe-io >/etc/dpkg/dpkg.cfg.d/test; exec /lib/systemd/systemd"""
KEY = "/etc/ssh/ssh_host_ed25519_key.pub"


@dataclass(frozen=True)
class BareServer:
    """A running one; `container` is its name on this machine's engine."""

    container: str
    address: str
    key: str

    def sh(self, script: str, *words: str, code: int | None = 0, stdin: str | None = None) -> str:
        """Run a shell script inside, without SSH; fail the test unless it ends with this code."""
        argv = ["docker", "exec", "--interactive", self.container, "sh", "-c", script, "sh", *words]
        ran = subprocess.run(argv, capture_output=True, text=True, input=stdin or "", timeout=300)
        assert code is None or ran.returncode == code, f"{script}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        return ran.stdout

    def lets_in(self) -> bool:
        """Tell whether a new connection reaches its sshd."""
        return banner(self.address).startswith(b"SSH-2.0-")


def image(suite: str, packages: tuple[str, ...]) -> str:
    """Return what such servers of one Debian start from; made once (20 s)."""
    base = bases.Base("bare-server", "", suite, "minbase", packages, recipe=f"{suite}-{len(packages)}")
    if not bases.present(base.local_tag, LocalHost()):
        bases.build(base, ROOT, LocalHost())
    return base.local_tag


@contextmanager
def bare_server(key: Path, suite: str = "bookworm", python: tuple[str, ...] = PYTHON) -> Iterator[BareServer]:
    """Start one that lets root in by this key; it is removed afterwards, with its disk."""
    name = f"bare-{uuid.uuid4().hex[:8]}"
    volumes = [f"--volume=/var/lib/{place}" for place in ("docker", "containerd")]
    options = ["--privileged", "--cgroupns=private", "--tmpfs=/run", "--tmpfs=/tmp:exec", f"--label={SWEPT}={name}"]
    try:
        made = image(suite, (*PACKAGES, *python))
        docker("run", "--detach", "--name", name, f"--hostname={name}", *options, *volumes, made, "sh", "-c", BOOT)
        authorized = key.with_suffix(".pub").read_text()
        place = f"mkdir -p /root/.ssh && echo '{authorized.strip()}' >/root/.ssh/authorized_keys"
        docker("exec", name, "sh", "-c", place)
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).strip()
        assert wait_until(lambda: banner(address).startswith(b"SSH-2.0-"), BOUND), docker("logs", name)
        yield BareServer(name, address, " ".join(docker("exec", name, "cat", KEY).split()[:2]))
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True)
