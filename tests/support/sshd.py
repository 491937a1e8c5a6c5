"""An SSH server on loopback: its own configuration, its own keys, ended with the test."""

from __future__ import annotations

import getpass
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deploy.config.environment import remote_hosts
from deploy.config.settings import Settings
from deploy.core.errors import Refused
from deploy.core.poll import wait_until
from deploy.hosts.sections import Machine, Server, Ssh
from deploy.hosts.ssh import SshHost
from tests.support import samples
from tests.support.site import free_port

PROGRAM = "/usr/sbin/sshd"
HARDENED = "ForceCommand /bin/false\nPermitTTY no\n"
CONFIG = """Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/user.pub
PidFile none
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
SetEnv HOME={folder}
LogLevel VERBOSE
"""


@dataclass
class Sshd:
    """One that runs, and what it wrote."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def key(self) -> str:
        """Its host key."""
        return " ".join((self.folder / "host.pub").read_text().split()[:2])

    @property
    def log(self) -> str:
        """What it said."""
        return (self.folder / "log").read_text()

    @property
    def connections(self) -> int:
        """How many people it let in."""
        return self.log.count("Accepted publickey")

    @property
    def callers(self) -> int:
        """How many connections it took, whoever they were; lines about earlier ones may still come."""
        return self.log.count("Connection from")

    def children(self) -> list[int]:
        """The processes that serve its connections."""
        listed = subprocess.run(["pgrep", "-P", str(self.process.pid)], capture_output=True, text=True).stdout
        return [int(number) for number in listed.split()]

    def machine(self, **fields: Any) -> dict[str, Any]:
        """Describe it as settings do."""
        return {"address": "127.0.0.1", "port": self.port, "key": self.key, **fields}

    def settings(
        self, root: Path, *, hosts: dict[str, Any] | None = None, gateway: Sshd | None = None, **ssh: Any
    ) -> Settings:
        """Return an environment of it alone, by the name of `app1`."""
        found = hosts if hosts is not None else {"app1": self.machine()}
        return samples.settings(
            root,
            ssh=Ssh(
                **{
                    "key_file": self.folder / "user",
                    "user": getpass.getuser(),
                    "keepalive": 1,
                    "connect_within": 5,
                    **ssh,
                }
            ),
            hosts={name: Server(**machine) for name, machine in found.items()},
            gateway=Machine(**gateway.machine()) if gateway else None,
        )


def key(path: Path, *, passphrase: str = "") -> None:
    """Make a key pair."""
    for old in (path, path.with_suffix(".pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True)


@contextmanager
def running(folder: Path, config: str = "", *, user: Path | None = None) -> Iterator[Sshd]:
    """Run one; `config` goes over what is set here, `user` is whose key is let in."""
    assert Path(PROGRAM).exists(), "apt-get install openssh-server, or scripts/bootstrap.py --tests"
    if not os.geteuid():
        Path("/run/sshd").mkdir(exist_ok=True)
    folder.mkdir(exist_ok=True)
    key(folder / "host")
    key(folder / "user")
    if user:
        (folder / "user.pub").write_bytes(user.with_suffix(".pub").read_bytes())
    port = free_port()
    (folder / "config").write_text(config + CONFIG.format(port=port, folder=folder))
    with (folder / "log").open("wb") as log:
        argv = [PROGRAM, "-D", "-e", "-f", str(folder / "config")]
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    made = Sshd(folder, port, process)
    try:
        wait_for(made)
        yield made
    finally:
        for child in (*made.children(), process.pid):
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)
                os.kill(child, signal.SIGKILL)
        process.wait()


def wait_for(server: Sshd) -> None:
    """Wait until it listens."""
    assert wait_until(lambda: "Server listening" in server.log, 10), server.log


def host_of(server: Sshd, **more: Any) -> SshHost:
    """Make a host of it."""
    return remote_hosts(server.settings(Path("/nowhere"), **more))["app1"]


def refused(act: Callable[[], object]) -> str:
    """Do what must be refused; return all that a person is told."""
    with pytest.raises(Refused) as raised:
        act()
    return str(raised.value)


def runs(line: str) -> bool:
    """Tell whether a program runs, by its whole command line."""
    return subprocess.run(["pgrep", "-fx", line], capture_output=True).returncode == 0
