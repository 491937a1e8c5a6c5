"""Repositories off this site: a real S3 server and a real sshd, where containers reach them."""

from __future__ import annotations

import getpass
import http.client
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.core.poll import wait_until
from tests.support import sshd
from tests.support.site import docker, free_port
from tests.support.sshd import Sshd

KEY_ID, SECRET = "ops-test", "not-a-secret-of-anybody"
RCLONE = Path(sys.executable).parent / "rclone"


def bridge() -> str:
    """This machine's address for containers."""
    return docker("network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}").strip()


@dataclass
class Bucket:
    """An S3 server with one bucket, on a folder that holds what it is given."""

    folder: Path
    address: str
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        """A repository in it."""
        return f"s3:http://{self.address}/bucket/books"

    @property
    def secrets(self) -> str:
        """What the secrets file needs for it."""
        return f"AWS_ACCESS_KEY_ID='{KEY_ID}'\nAWS_SECRET_ACCESS_KEY='{SECRET}'\n"

    def empty(self) -> None:
        """Lose all that it holds; the server is started anew, since it remembers what it has listed."""
        end(self.process)
        shutil.rmtree(self.folder / "bucket")
        self.process = start(self.folder, self.address)


def start(folder: Path, address: str) -> subprocess.Popen[bytes]:
    """Start an S3 server, and wait until it answers."""
    (folder / "bucket").mkdir(parents=True)
    words = [str(RCLONE), "serve", "s3", "--addr", address, "--auth-key", f"{KEY_ID},{SECRET}", str(folder)]
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    assert wait_until(lambda: answers(address), 10), "rclone does not serve"
    return process


def end(process: subprocess.Popen[bytes]) -> None:
    """End a server, also one that is stopped."""
    process.kill()
    process.wait()


@contextmanager
def s3(folder: Path) -> Iterator[Bucket]:
    """Run an S3 server with one bucket."""
    address = f"{bridge()}:{free_port()}"
    bucket = Bucket(folder, address, start(folder, address))
    try:
        yield bucket
    finally:
        end(bucket.process)


def answers(address: str) -> bool:
    """Tell whether a server answers."""
    connection = http.client.HTTPConnection(address, timeout=1)
    try:
        connection.request("GET", "/")
        return bool(connection.getresponse().status)
    except OSError:
        return False
    finally:
        connection.close()


@contextmanager
def sftp(folder: Path, address: str = "") -> Iterator[tuple[Sshd, str]]:
    """Run an SSH server that lets one key in, for files alone; return it and a repository on it."""
    address = address or bridge()
    config = f"ListenAddress {address}\nSubsystem sftp internal-sftp\nForceCommand internal-sftp\n"
    with sshd.running(folder, config) as server, ended(server):
        yield server, f"sftp://{getpass.getuser()}@{address}:{server.port}/{folder}/vault"


@contextmanager
def ended(server: Sshd) -> Iterator[None]:
    """End an SSH server afterwards, also one that was started again."""
    try:
        yield
    finally:
        end(server.process)


@dataclass
class Vault:
    """An S3 server near, and an SSH server far away."""

    bucket: Bucket
    server: Sshd
    far: str

    @property
    def variables(self) -> dict[str, str]:
        """The settings that name both."""
        places = {"REPOSITORY": self.bucket.url, "OFFSITE": self.far, "OFFSITE_KEY": self.server.key}
        return {f"OPS_BACKUP__{name}": value for name, value in places.items()}

    @property
    def secrets(self) -> str:
        """What the secrets file needs for both."""
        return f"{self.bucket.secrets}BACKUP_SSH_KEY='{(self.server.folder / 'user').read_text()}'\n"

    @contextmanager
    def another_host_key(self) -> Iterator[None]:
        """Have another server answer in place of the one far away."""
        folder = self.server.folder
        own = {name: (folder / name).read_bytes() for name in ("host", "host.pub")}
        sshd.key(folder / "host")
        restart(self.server)
        try:
            yield
        finally:
            for name, data in own.items():
                (folder / name).write_bytes(data)
            restart(self.server)


def restart(server: Sshd) -> None:
    """Start an SSH server again, on its port."""
    server.process.kill()
    server.process.wait()
    with (server.folder / "log").open("wb") as log:
        argv = [sshd.PROGRAM, "-D", "-e", "-f", str(server.folder / "config")]
        server.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    sshd.wait_for(server)


@contextmanager
def both(folder: Path) -> Iterator[Vault]:
    """Run both."""
    with s3(folder / "s3") as bucket, sftp(folder / "sftp") as (server, far):
        yield Vault(bucket, server, far)
