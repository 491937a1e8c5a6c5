"""A whole machine of its own: a privileged container with an engine, which can lose its power."""

from __future__ import annotations

import contextlib
import hashlib
import json
import subprocess
import tempfile
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests.integration.test_quickstart import LABEL, OWN_CA, PACKAGES
from tests.nights.night import UNHURRIED, Night, NightSite
from tests.support.site import ROOT, Done, copy_checkout, docker, make_tiny

CHECKOUT, APP, STATE = "/root/bookreader-ops", "/root/tiny", "/data/state"
PYTHON = f"{CHECKOUT}/.venv/bin/python"
PREPARED = ("scripts/bootstrap.py", "requirements/dev.txt")
BASES = ("python", "nginx", "busybox")
# what a killed machine kills; procps is not there
KILL = """
import os, pathlib, signal, time
own = pathlib.Path("/proc/1/cgroup").read_text()
def doomed(place):
    try:
        name, group = (place / "comm").read_text().strip(), (place / "cgroup").read_text()
    except OSError:
        return False
    return group != own or name.startswith(("dockerd", "docker-proxy", "containerd"))
while pids := [int(place.name) for place in pathlib.Path("/proc").glob("[0-9]*") if doomed(place)]:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    time.sleep(0.05)
"""


@dataclass
class Machine:
    """A nested host."""

    image: str
    disk: str = ""  # an option of `docker run`; a volume when it is empty
    name: str = field(default_factory=lambda: f"night-{uuid.uuid4().hex[:8]}")

    def boot(self) -> None:
        """Make it and start it, without an engine."""
        mounts = [
            self.disk or f"--volume={self.name}-data:/data",
            f"--volume={OWN_CA}:{OWN_CA}:ro",
            "--tmpfs=/run:exec",
        ]
        docker(
            "run",
            "--detach",
            "--privileged",
            "--init",
            f"--name={self.name}",
            f"--label={LABEL}",
            *mounts,
            self.image,
            "sleep",
            "infinity",
        )

    def run(
        self,
        *words: str,
        stdin: Path | None = None,
        code: int | None = 0,
        folder: str = "/root",
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run a command on it."""
        argv = [
            "docker",
            "exec",
            *(["-i"] if stdin else []),
            f"--workdir={folder}",
            *(f"--env={k}={v}" for k, v in (env or {}).items()),
            self.name,
            *words,
        ]
        with stdin.open("rb") if stdin else contextlib.nullcontext(subprocess.DEVNULL) as feed:
            ran = subprocess.run(argv, stdin=feed, capture_output=True, text=True, timeout=900)
        assert code is None or ran.returncode == code, (
            f"{' '.join(words)} ended with {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
        )
        return Done(ran.returncode, ran.stdout, ran.stderr)

    def engine(self) -> None:
        """Start the engine as quickstart does where there is no systemd; a unit with Restart=always does the same."""
        self.run("python3", "scripts/bootstrap.py", folder=CHECKOUT)

    def restart_engine(self, number: str) -> None:
        """Restart the engine as `systemctl restart docker` does with TERM, or as its unit does after its death by KILL."""
        self.run(
            "sh", "-c", f"p=$(cat /var/run/docker.pid); kill -{number} $p; while [ -e /proc/$p ]; do sleep 0.1; done"
        )
        self.engine()

    def kill_engine(self) -> None:
        """Kill the engine, containerd and all containers with -9."""
        self.run("python3", "-c", KILL)

    def lose_power(self) -> None:
        """End every process at once, and boot again with an empty /run; the disk stays."""
        docker("kill", self.name)
        docker("start", self.name)

    @property
    def address(self) -> str:
        """Where it is reached now."""
        return docker("inspect", "--format={{.NetworkSettings.IPAddress}}", self.name).strip()

    def scrap(self) -> None:
        """Remove it with its disk."""
        subprocess.run(["docker", "rm", "--force", "--volumes", self.name], capture_output=True)
        subprocess.run(["docker", "volume", "rm", "--force", f"{self.name}-data"], capture_output=True)


class FarSite(NightSite):
    """A site on another machine."""

    machine: Machine

    @property
    def words(self) -> dict[str, str]:
        """The environment of this site's commands there."""
        own = {
            "OPS_ROOT": APP, "OPS_APP": self.app, "XDG_STATE_HOME": STATE, "OPS_EDGE__ADDRESS": "0.0.0.0",
            "OPS_EDGE__PORT": str(self.port), "OPS_EDGE__PROBE_PORT": str(self.probe_port), "HOME": "/root",
        }  # fmt: skip
        return {**own, **self.extra}

    @property
    def far_state(self) -> str:
        """The state folder, there."""
        return f"{STATE}/{self.app}-local"

    @property
    def url(self) -> str:
        """Where the site is served."""
        return f"http://{self.machine.address}:{self.port}"

    def argv(self, module: str, *words: str, **more: str) -> list[str]:
        """Return the words that run a module of the checkout there."""
        env = [f"--env={name}={value}" for name, value in {**self.words, **more}.items()]
        return ["docker", "exec", f"--workdir={CHECKOUT}", *env, self.machine.name, PYTHON, "-m", module, *words]

    def inv(self, *words: str, code: int | None = 0, **more: str) -> Done:
        """Run `inv` there."""
        return self.machine.run(PYTHON, "-m", "invoke", *words, code=code, folder=CHECKOUT, env={**self.words, **more})

    def get(self, path: str, port: int | None = None, address: str = "") -> tuple[int, str]:
        """Ask the site from here, as its users do."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:  # noqa: S310  # http, as `url` has it
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, ""
        except OSError as error:
            return 0, str(error)

    def docker(self, *words: str) -> str:
        """Run docker there."""
        return self.machine.run("docker", *words).stdout

    def containers(self) -> dict[str, str]:
        """This site's containers there."""
        listed = self.docker(
            "ps", "--all", "--filter", f"label=bookreader-ops.app={self.app}", "--format", "{{.Names}}\t{{.State}}"
        )
        return dict(line.split("\t") for line in listed.splitlines())

    def commit(self, message: str = "change") -> None:
        """Commit here, and bring the checkout there."""
        super().commit(message)
        if hasattr(self, "machine"):
            self.send(self.root, APP)

    def send(self, folder: Path, place: str) -> None:
        """Copy a folder over there, owned by root."""
        with tempfile.NamedTemporaryFile(suffix=".tar") as tar:
            subprocess.run(
                ["tar", "--create", "--owner=0", "--group=0", f"--directory={folder}", f"--file={tar.name}", "."],
                check=True,
            )
            self.machine.run("mkdir", "-p", place)
            self.machine.run("tar", "--extract", f"--directory={place}", stdin=Path(tar.name))

    def sweep(self) -> None:
        """Scrap the machine."""
        self.machine.scrap()
        super().sweep()


def image() -> str:
    """Build what nested hosts start from, once for each lock.

    Engine, mmdebstrap and the Python environment are installed.
    """
    recipe = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in PREPARED)).hexdigest()[:12]
    tag = f"ops-base/night-host:{recipe}"
    base = bases.Base("bare-host", "", "bookworm", "minbase", PACKAGES, recipe=f"{'-'.join(PACKAGES)}-1")
    if bases.present(tag, LocalHost()):
        return tag
    if not bases.present(base.local_tag, LocalHost()):
        bases.build(base, ROOT, LocalHost())
    machine = Machine(base.local_tag)
    try:
        machine.boot()
        machine.run("update-ca-certificates")
        for name in PREPARED:
            machine.run("mkdir", "-p", f"{CHECKOUT}/{Path(name).parent}")
            docker("cp", str(ROOT / name), f"{machine.name}:{CHECKOUT}/{name}")
        setting = json.dumps(
            {"data-root": "/data/docker", "features": {"containerd-snapshotter": True}, "live-restore": True}
        )
        machine.run("sh", "-c", f"mkdir -p /etc/docker && echo '{setting}' > /etc/docker/daemon.json")
        machine.engine()
        docker("commit", machine.name, tag)
    finally:
        machine.scrap()
    return tag


@contextlib.contextmanager
def far_night(folder: Path, disk: str = "") -> Iterator[Night]:
    """A tiny site on a machine of its own, that nothing was deployed to."""
    machine = Machine(image(), disk)
    made = make_tiny(folder)
    site = FarSite(made.folder, made.app, made.extra | UNHURRIED)
    site.machine = machine
    checkout = NightSite(folder / "toolkit")
    try:
        machine.boot()
        copy_checkout(checkout)
        site.send(checkout.root, CHECKOUT)
        site.send(site.root, APP)
        machine.engine()
        found = bases.read(ROOT)
        with tempfile.NamedTemporaryFile(suffix=".tar") as tar:
            docker("save", "--output", tar.name, *(found[name].local_tag for name in BASES))
            machine.run("docker", "load", stdin=Path(tar.name))
        night = Night(site)
        try:
            yield night
        finally:
            night.ends()
    finally:
        machine.scrap()


def answers(night: Night) -> bool:
    """Tell whether the engine there answers."""
    site = night.site
    assert isinstance(site, FarSite)
    return wait_until(lambda: site.machine.run("docker", "info", code=None).code == 0, 30)
