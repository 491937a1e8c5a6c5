"""Timers that are fired for real, by systemd and by cron, on hosts of their own.

The script that one runs for backups is held by tests/integration/test_backup.py.
"""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.config.environment import remote_hosts
from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import Server, Ssh
from deploy.hosts.ssh import SshHost
from deploy.images import bases
from deploy.site import timers
from tests.support import samples, sshd
from tests.support.site import ROOT, SWEPT, docker

HOST = bases.Base(
    "timer-host", "", "bookworm", "minbase", ("systemd", "systemd-sysv", "dbus", "openssh-server", "cron"), recipe="1"
)
KEYS = "ssh-keygen -A >/dev/null; "
KINDS = {
    "systemd": f"{KEYS}exec /lib/systemd/systemd",
    "cron": f"{KEYS}mkdir -p /run/sshd; cron; exec /usr/sbin/sshd -D",
}
FIRED = "/fired"


@contextmanager
def running(folder: Path, kind: str) -> Iterator[SshHost]:
    """Run a host with systemd, or with cron alone."""
    if not bases.present(HOST.local_tag, LocalHost()):
        bases.build(HOST, ROOT, LocalHost())
    sshd.key(folder / "user")
    name = f"timers-{uuid.uuid4().hex[:8]}"
    options = ["--privileged", "--cgroupns=private", "--tmpfs=/run", "--tmpfs=/tmp", f"--label={SWEPT}={name}"]
    docker("run", "--detach", "--name", name, *options, HOST.local_tag, "sh", "-c", KINDS[kind])
    try:
        docker("exec", name, "mkdir", "-p", "/root/.ssh")
        docker("cp", str(folder / "user.pub"), f"{name}:/root/.ssh/authorized_keys")
        docker("exec", name, "chown", "-R", "root:root", "/root/.ssh")
        address = docker("inspect", "--format", "{{.NetworkSettings.IPAddress}}", name).strip()
        show = "until cat /etc/ssh/ssh_host_ed25519_key.pub 2>/dev/null; do sleep 0.1; done"
        key = docker("exec", name, "timeout", "10", "sh", "-c", show).strip()
        settings = samples.settings(
            folder, ssh=Ssh(key_file=folder / "user", user="root"), hosts={"app1": Server(address=address, key=key)}
        )
        (host,) = remote_hosts(settings).values()
        assert wait_until(lambda: answers(host), 30), docker("logs", name)
        yield host
        host.close()
    finally:
        subprocess.run(["docker", "rm", "--force", "--volumes", name], capture_output=True)


def answers(host: SshHost) -> bool:
    """Tell whether a host lets us in."""
    try:
        return bool(host.now())
    except Exception:  # noqa: BLE001  # whatever it is, it is not up yet
        host.renew()
        return False


@pytest.mark.parametrize("kind", KINDS)
def test_a_timer_fires_and_one_that_was_removed_never_again(tmp_path: Path, kind: str) -> None:
    """A timer of the host's own, due within the next two minutes."""
    with running(tmp_path, kind) as host:
        due = datetime.fromisoformat(host.now()).astimezone(UTC) + timedelta(seconds=70)
        timer = timers.Timer("shop-prod-backup", "a test", f"/bin/sh -c 'date >>{FIRED}'", f"{due:%H:%M}", 0, "inv x")
        assert f"by {kind}" in timers.install(host, timer)
        timers.install(host, timer)
        assert wait_until(lambda: host.read(Path(FIRED)) is not None, 130), "it never fired"
        timers.remove(host, timer)
        assert not [path for path in timers.files(timer, systemd=kind == "systemd") if host.read(path) is not None]
        timers.remove(host, timer)
        assert len(str(host.read(Path(FIRED))).splitlines()) == 1
