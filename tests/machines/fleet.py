"""The machines of one test run: their key, their network, and the end of them."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import subprocess
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.machines.image import image
from tests.machines.machine import Machine, Store
from tests.support.site import docker

LABEL = "ops-test=machine"
RUN = "ops-test.run"  # its value begins with the id of the process that made it
MOST = 3  # engines at a time: two cores
SUBNETS = ipaddress.IPv4Network("10.213.0.0/16")
# what removes, by what lists: in this order, since the later ones are in use by the first
LISTS = {
    "rm --force --volumes": ("ps", "--all"),
    "volume rm --force": ("volume", "ls"),
    "network rm": ("network", "ls"),
}
# a hardened jump host: an account may open connections to given places and nothing else
GATEWAY = (
    "AllowUsers jump", "ForceCommand /usr/sbin/nologin", "PermitTTY no", "AllowTcpForwarding local",
    "AllowStreamLocalForwarding no", "AllowAgentForwarding no", "X11Forwarding no",
)  # fmt: skip


@dataclass
class Fleet:
    """Starts machines and sweeps them; `key` is the private key that every account of theirs takes."""

    folder: Path
    run: str = field(default_factory=lambda: f"{os.getpid()}-{uuid.uuid4().hex[:6]}")
    machines: dict[str, Machine] = field(default_factory=dict)
    subnet: ipaddress.IPv4Network = field(init=False)

    @property
    def key(self) -> Path:
        """The private key of the operator."""
        return self.folder / "id_ed25519"

    @property
    def labels(self) -> list[str]:
        """What marks everything of this run."""
        return [f"--label={LABEL}", f"--label={RUN}={self.run}"]

    @property
    def network(self) -> str:
        """The name of this run's network."""
        return f"ops-test-{self.run}"

    def open(self) -> None:
        """Make the key and the network; sweep what a killed run left behind."""
        sweep(orphans())
        self.folder.mkdir(parents=True, exist_ok=True)
        self.key.touch(mode=0o600)
        own = Ed25519PrivateKey.generate()
        kept = (serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption())
        self.key.write_bytes(own.private_bytes(*kept))
        public = own.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        self.key.with_suffix(".pub").write_bytes(public)
        self.lay_network()

    def lay_network(self) -> None:
        """Make the network on the first sixteen addresses that are free here."""
        for subnet in SUBNETS.subnets(new_prefix=28):
            words = ["docker", "network", "create", *self.labels, f"--subnet={subnet}", self.network]
            made = subprocess.run(words, capture_output=True, text=True)
            if "overlap" not in made.stderr:
                break
        assert made.returncode == 0, made.stderr
        self.subnet = subnet

    def start(
        self, name: str = "server", store: Store = "containerd", *,
        host_keys: tuple[str, ...] = ("ed25519",), sshd: Iterable[str] = (), engine: bool = True,
    ) -> Machine:  # fmt: skip
        """Start a server and its engine; `sshd` are lines of its configuration that come before all others."""
        servers = docker("ps", "-q", f"--filter=label={RUN}={self.run}", "--filter=label=ops-test.engine").split()
        assert len(servers) < MOST, f"{MOST} machines run already: end one with Fleet.end"
        config = json.dumps({"features": {"containerd-snapshotter": store == "containerd"}, "live-restore": True})
        volumes = [
            f"--mount=type=volume,target=/var/lib/{place},volume-label={LABEL},volume-label={RUN}={self.run}"
            for place in ("docker", "containerd")
        ]
        machine = self.boot(
            name, host_keys, sshd, "--privileged", "--label=ops-test.engine", f"--env=DAEMON={config}", *volumes
        )
        if engine:
            machine.start_engine()
        return machine

    def gateway(self, name: str = "gateway", *, opens: Iterable[str], sshd: Iterable[str] = ()) -> Machine:
        """Start a jump host whose account `jump` opens connections to `opens` (`address:port`) and runs nothing; no engine."""
        return self.boot(name, ("ed25519",), [*sshd, f"PermitOpen {' '.join(opens)}", *GATEWAY], "--cap-add=NET_ADMIN")

    def boot(self, name: str, host_keys: tuple[str, ...], sshd: Iterable[str], *options: str) -> Machine:
        """Start a container and wait for its sshd."""
        container = f"{self.network}-{name}"
        operator, *others = map(str, self.subnet.hosts())
        address = next(one for one in others if one not in {machine.address for machine in self.machines.values()})
        env = {
            "AUTHORIZED": self.key.with_suffix(".pub").read_text(),
            "HOST_KEYS": " ".join(host_keys),
            "SSHD": "\n".join(sshd),
        }
        docker(
            "run", "--detach", "--init", f"--name={container}", f"--hostname={name}", *self.labels,
            f"--network={self.network}",
            f"--ip={address}", "--tmpfs=/run:exec", *(f"--env={key}={value}" for key, value in env.items()), *options,
            image(),
        )  # fmt: skip
        machine = self.machines[name] = Machine(name, container, address, operator, host_keys)
        machine.await_sshd()
        return machine

    def end(self, machine: Machine) -> None:
        """Remove a machine with its disk."""
        docker("rm", "--force", "--volumes", self.machines.pop(machine.name).container)


@contextlib.contextmanager
def fleet(folder: Path) -> Iterator[Fleet]:
    """Machines for as long as this lasts; the operator's key is made in the folder."""
    made = Fleet(folder)
    try:
        made.open()
        yield made
    finally:
        sweep([made.run])


def orphans() -> set[str]:
    """Name the runs whose process is no more."""
    shown = f'--format={{{{.Label "{RUN}"}}}}'
    runs = {run for words in LISTS.values() for run in docker(*words, f"--filter=label={LABEL}", shown).split()}
    return {run for run in runs if not Path("/proc", run.partition("-")[0]).exists()}


def sweep(runs: Iterable[str]) -> None:
    """Remove the containers, volumes and networks of these runs."""
    for run in runs:
        for remove, words in LISTS.items():
            if found := docker(*words, "--quiet", f"--filter=label={RUN}={run}").split():
                subprocess.run(["docker", *remove.split(), *found], capture_output=True)
