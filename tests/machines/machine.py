"""One test host: reached over SSH by what is tested, and by `docker exec` by the test itself."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from deploy.core.poll import wait_until
from tests.support.site import Done, docker

Store = Literal["containerd", "classic"]
# root and these: deploy is of the group docker, sudoer needs no password, asker does, jump may nothing
ACCOUNTS = ("root", "deploy", "sudoer", "asker", "jump")
ASKED = "asked"
BOUND = 30.0  # seconds; a machine takes two on a quiet testbed
LOG = "/var/log/dockerd.log"
ANSWERS = "docker version"
# procps may be there or not, and a process may end while it is looked at
EACH = 'for p in /proc/[0-9]*; do read -r n 2>/dev/null <$p/comm || continue; [ "$n" = "$1" ] || continue; '
KILL = EACH + 'kill -"$2" "${p#/proc/}"; done; true'
LIVES = EACH + "exit 0; done; exit 1"
# as on a server of Debian's: containerd is a service of its own, outlives dockerd, and is nobody's child
START = f"""
rm -f /run/docker.pid
sh -c '{LIVES}' sh containerd || (containerd >>/var/log/containerd.log 2>&1 &)
timeout {BOUND:.0f} sh -c 'until ctr version; do sleep 0.05; done' >/dev/null 2>&1
exec dockerd >>{LOG} 2>&1
"""
MAKE_KEY = "ssh-keygen -q -t $kind -N '' -C '' -f /etc/ssh/host_keys/$kind"


@dataclass(frozen=True)
class Machine:
    """A running test host; `container` is its name on the outer engine, `address` where its port 22 is."""

    name: str
    container: str
    address: str
    operator: str
    host_keys: tuple[str, ...] = ("ed25519",)

    # what a test sees inside

    def exec(self, *words: str, user: str = "root", code: int | None = 0) -> Done:
        """Run a program inside, without SSH; fail the test unless it ends with this code."""
        argv = ["docker", "exec", f"--user={user}", self.container, *words]
        ran = subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
        assert code is None or ran.returncode == code, (
            f"{' '.join(words)} ended with {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        )
        return Done(ran.returncode, ran.stdout, ran.stderr)

    def sh(self, script: str, *words: str, user: str = "root", code: int | None = 0) -> str:
        """Run a shell script inside, with `words` as $1 and on; return its stdout."""
        return self.exec("sh", "-c", script, "sh", *words, user=user, code=code).stdout

    def logs(self) -> str:
        """What sshd and dockerd said."""
        output = subprocess.run(
            ["docker", "logs", self.container], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ).stdout
        return f"{output}\n{self.sh(f'cat {LOG}', code=None)}"

    # sshd

    @property
    def key(self) -> str:
        """The public host key as a line of known_hosts has it, without the host: `ssh-ed25519 AAAA…`."""
        return self.keys[0]

    @property
    def keys(self) -> list[str]:
        """Its public host keys, in the order of the types that it was started with."""
        places = [f"/etc/ssh/host_keys/{kind}.pub" for kind in self.host_keys]
        return [" ".join(line.split()[:2]) for line in self.exec("cat", *places).stdout.splitlines()]

    def new_host_key(self) -> str:
        """Change the host keys and have sshd take them up; return the new one. Connections that are open live on."""
        self.sh(
            "rm /etc/ssh/host_keys/*; for kind; do " + MAKE_KEY + "; done; kill -HUP $(cat /run/sshd.pid)",
            *self.host_keys,
        )
        served = 'ssh-keyscan -t $1 127.0.0.1 2>/dev/null | grep -qF "$2"'
        assert wait_until(
            lambda: not self.exec("sh", "-c", served, "sh", self.host_keys[0], self.key, code=None).code, BOUND
        ), self.logs()
        return self.key

    def reboot(self) -> None:
        """Lose power and boot again, without the engine: the address, the disk and the host keys stay."""
        docker("kill", self.container)
        docker("start", self.container)
        self.await_sshd()

    def await_sshd(self) -> None:
        """Wait until sshd sends its banner; fail the test with the logs otherwise."""
        assert wait_until(lambda: banner(self.address).startswith(b"SSH-2.0-"), BOUND, pause=0.05), (
            f"no sshd on {self.name}\n{self.logs()}"
        )

    # its engine

    def start_engine(self) -> None:
        """Start dockerd and wait until it answers; fail the test with its log otherwise."""
        docker("exec", "--detach", self.container, "sh", "-c", START)
        answers = f"timeout {BOUND:.0f} sh -c 'until {ANSWERS}; do sleep 0.05; done' >/dev/null 2>&1"
        assert self.exec("sh", "-c", answers, code=None).code == 0, f"no engine on {self.name}\n{self.logs()}"

    def stop_engine(self) -> None:
        """Stop dockerd as `systemctl stop docker` does; its containers live on (live-restore)."""
        self.kill("dockerd", "TERM")

    def kill(self, program: str, signal: str = "KILL") -> None:
        """Signal every process of this name, those of its containers too; wait until there is none."""
        self.sh(KILL, program[:15], signal)
        assert wait_until(lambda: self.exec("sh", "-c", LIVES, "sh", program[:15], code=None).code == 1, BOUND), (
            f"{program} lives on"
        )

    def load(self, *images: str) -> None:
        """Copy images of the outer engine into this one."""
        with subprocess.Popen(["docker", "save", *images], stdout=subprocess.PIPE) as save:
            load = ["docker", "exec", "--interactive", self.container, "docker", "load", "--quiet"]
            subprocess.run(load, stdin=save.stdout, check=True, capture_output=True, timeout=300)
        assert save.returncode == 0, f"docker save {images} ended with {save.returncode}"

    # faults

    def cut_off(self, address: str = "") -> None:
        """Drop every packet from and to an address, the operator's unless told; nothing is refused, all is silence."""
        # of all tables this one is passed by packets to sshd and by those forwarded to containers
        self.sh(
            "iptables -t mangle -I PREROUTING -s $1 -j DROP; iptables -t mangle -I POSTROUTING -d $1 -j DROP",
            address or self.operator,
        )

    def heal(self) -> None:
        """End every cut_off."""
        self.sh("iptables -t mangle -F PREROUTING; iptables -t mangle -F POSTROUTING")

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Freeze all its processes, containers included: connections are taken by the kernel, nothing answers."""
        docker("pause", self.container)
        try:
            yield
        finally:
            docker("unpause", self.container)

    @contextlib.contextmanager
    def small_disk(self, path: str, size: str = "1m") -> Iterator[None]:
        """Mount an empty file system of this size over a path, for whoever owns the path."""
        options = 'size=$2,mode=$(stat -c %a "$1"),uid=$(stat -c %u "$1"),gid=$(stat -c %g "$1")'
        mount = f'mkdir -p "$1"; mount -t tmpfs -o "{options}" tmpfs "$1"'
        self.sh(mount, path, size)
        try:
            yield
        finally:
            self.sh('umount --lazy "$1"', path)


def banner(address: str) -> bytes:
    """Return the first bytes that a machine's port 22 sends; none when it is silent."""
    try:
        with socket.create_connection((address, 22), timeout=1) as connection:
            return connection.recv(64)
    except OSError:
        return b""
