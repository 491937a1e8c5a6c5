"""What machines start from: packages of the Debian whose engine bootstrap installs, and accounts."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from deploy.core.shell import docker
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests.support.site import ROOT

HERE = Path(__file__).parent
FILES = ("Dockerfile", "boot")
PACKAGES = (
    "openssh-server", "sudo", "docker.io", "docker-cli", "docker-buildx", "docker-compose", "iptables",
    "ca-certificates"
)  # fmt: skip
BASE = bases.Base("machine", "", "trixie", "essential", PACKAGES)


def image() -> str:
    """Return the image of machines; build it when no recipe like this was built before (25 s)."""
    recipe = hashlib.sha256(repr(BASE).encode() + b"".join((HERE / name).read_bytes() for name in FILES))
    tag = f"ops-test/machine:{recipe.hexdigest()[:12]}"
    if not bases.present(tag, LocalHost()):
        build(tag)
    return tag


def build(tag: str) -> None:
    """Unpack the packages and put the accounts on top; two that do so at once end with the same."""
    host = LocalHost()
    with tempfile.TemporaryDirectory(prefix="ops-test-machine-") as folder:
        host.run(bases.unpack(BASE, ROOT, Path(folder, "rootfs.tar")), timeout=300)
        for name in FILES:
            shutil.copy(HERE / name, folder)
        output = f"type=image,name={tag},compression=uncompressed"
        host.run(docker("buildx", "build", "--provenance=false", "--output", output, folder), timeout=300)
