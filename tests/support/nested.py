"""Engines inside of containers, one for each image store, as hosts."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from deploy.core.poll import wait_until
from deploy.core.shell import Command, Result, command
from deploy.hosts.local import LocalHost, LocalProcess
from tests.machines.image import image
from tests.support.site import docker

LABEL = "bookreader-ops.test-host"


class Nested(LocalHost):
    """A host whose commands run in a container; the files it is given are this machine's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def inside(self, command: Command) -> Command:
        """Return the command as it is run from here."""
        settings = (f"--env={key}={value}" for key, value in command.environment.items())
        return replace(
            command, argv=("docker", "exec", "--interactive", *settings, self.name, *command.argv), environment={}
        )

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        return super().try_run(self.inside(command), stdin=stdin, timeout=timeout)

    def _open(
        self, command: Command, guard: tuple[str, ...], *, stdin_open: bool, stderr_apart: bool = False
    ) -> LocalProcess:
        return super()._open(self.inside(command), guard, stdin_open=stdin_open, stderr_apart=stderr_apart)

    def remove(self, path: Path) -> None:
        self.run(command("rm", "-rf", str(path)))

    def docker(self, *words: str) -> str:
        """Run docker there."""
        return docker("exec", self.name, "docker", *words)


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what is learnt of the tests' images out of the person's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@contextmanager
def engines(*stores: str, disk: str = "", base: str = "", shown: Path | None = None) -> Iterator[list[Nested]]:
    """Start an engine for each store, `containerd` or `classic`; `disk` is a size, for one that is soon full.

    `base` is an image with another engine; `shown` a folder of this machine's that is there under the same path.
    """
    hosts = [Nested(f"nested-{store}-{uuid.uuid4().hex[:8]}") for store in stores]
    with ExitStack() as swept:
        for host, store in zip(hosts, stores, strict=True):
            swept.callback(subprocess.run, ["docker", "rm", "--force", "--volumes", host.name], capture_output=True)
            folders = ("/var/lib/docker", "/var/lib/containerd")
            disks = [f"--tmpfs={place}:size={disk}" if disk else f"--volume={place}" for place in folders]
            disks += [f"--volume={shown}:{shown}:ro"] if shown else []
            docker("run", "--detach", "--privileged", "--init", f"--name={host.name}", f"--label={LABEL}", *disks,
                   "--tmpfs=/run:exec", base or image(), "sleep", "infinity")  # fmt: skip
            setting = json.dumps({"features": {"containerd-snapshotter": store == "containerd"}})
            docker("exec", host.name, "sh", "-c", f"mkdir -p /etc/docker && echo '{setting}' > /etc/docker/daemon.json")
            docker("exec", "--detach", host.name, "sh", "-c", "dockerd > /var/log/dockerd.log 2>&1")
        for host in hosts:
            ready = partial(host.try_run, Command(("docker", "info")))
            assert wait_until(lambda ready=ready: not ready().returncode, 60), docker("logs", host.name)  # type: ignore[misc]
        yield hosts
