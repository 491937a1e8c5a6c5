"""Terraform on the modules of infra/terraform, and an API on loopback in place of a cloud's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from deploy.config.settings import ROOT
from deploy.core.poll import wait_until
from tests.support.site import free_port

MODULES = ROOT / "infra" / "terraform"
LOCK = ROOT / "requirements" / "cloud.txt"
REGION = "eu-central-1"
# no account of the person who runs the tests is ever asked
NOBODY = {
    "AWS_REGION": REGION,
    "AWS_DEFAULT_REGION": REGION,
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}
OWN = ("AWS_", "TF_VAR_", "TF_WORKSPACE", "TF_DATA_DIR", "TF_CLI_ARGS")


@dataclass
class Terraform:
    """A copy of one module, initialised, and its state beside it."""

    module: Path
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment without anything that leads to a real account."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OWN)}
        return {**kept, **NOBODY, "CHECKPOINT_DISABLE": "1", **self.more}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run terraform on the module."""
        argv = ["terraform", f"-chdir={self.module}", *words]
        return subprocess.run(
            argv, env=self.environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=600
        )

    def do(self, *words: str) -> str:
        """Run it, and show what it says where it fails."""
        done = self.run(*words)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def require_terraform() -> None:
    """Skip where terraform is missing: what only it can say is unknown."""
    if not shutil.which("terraform"):
        pytest.skip("UNKNOWN: terraform is not on this machine")


def copied(name: str, folder: Path) -> Terraform:
    """Copy a module with what lies beside it; skip where its provider, as the lock file names it, cannot be had."""
    require_terraform()
    leave = shutil.ignore_patterns(".terraform", "*.tfstate*")
    terraform = Terraform(Path(shutil.copytree(MODULES, folder / "terraform", ignore=leave)) / name)
    words = ["init", "-input=false", "-no-color", "-lockfile=readonly"]
    ways = [[f"-plugin-dir={mirror}"] for mirror in mirrors()] + [[]]
    tried = [terraform.run(*words, *way) for way in ways]
    if not any(init.returncode == 0 for init in tried):
        mismatch = [init.stderr for init in tried if "match any of the checksums" in " ".join(init.stderr.split())]
        assert not mismatch, f"the provider that is here is not the locked one:\n{mismatch[0]}"
        pytest.skip(f"UNKNOWN: no provider as {name}/.terraform.lock.hcl names it: {tried[-1].stderr[-500:]}")
    return terraform


def mirrors() -> Iterator[Path]:
    """List folders that hold providers as `terraform providers mirror` lays them out, where packages come to be."""
    for place in ("/opt", "/srv", "/usr/share", "/usr/local/share"):
        for source in sorted(Path(place).glob("*/registry.terraform.io/")):
            yield source.parent


@contextmanager
def cloud(folder: Path) -> Iterator[dict[str, str]]:
    """Run moto on loopback; yield the environment that leads there."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    words = ["--require-hashes", "--target", str(folder), "--requirement", str(LOCK)]
    subprocess.run([*pip, *words], check=True, capture_output=True)
    port, own = free_port(), {"PYTHONPATH": str(folder), "PATH": os.environ["PATH"]}
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert wait_until(lambda: answers(f"http://127.0.0.1:{port}/moto-api/data.json"), 30), "moto did not start"
        yield {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "PYTHONPATH": str(folder)}
    finally:
        server.kill()
        server.wait()


def answers(address: str) -> bool:
    """Tell whether something answers."""
    with suppress(OSError), urlopen(address, timeout=2) as answer:  # noqa: S310  # our own server
        return bool(answer.status == 200)
    return False


def ask(there: Mapping[str, str], line: str) -> Any:
    """Ask the API by boto3, which is with moto: an expression of `client`, as JSON."""
    program = f"import boto3, json; client = boto3.client; print(json.dumps({line}, default=str))"
    own = {**NOBODY, **there, "PATH": os.environ["PATH"]}
    asked = subprocess.run([sys.executable, "-c", program], env=own, capture_output=True, text=True)
    assert asked.returncode == 0, asked.stderr
    return json.loads(asked.stdout)
