"""The reference app's own tests, in the images' own Python and Node."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator

import pytest

from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests.support.site import ROOT, docker

LABEL = "bookreader-ops.app-suite"
pytestmark = pytest.mark.alone  # the tests of its workers count seconds


def bake(target: str, *words: str) -> None:
    """Build one test target on the base images of this machine."""
    names = ["python-build", "node"]
    references = bases.prepare(ROOT, "auto", names, LocalHost())
    contexts = [f"--set=*.contexts.{name}=docker-image://{reference}" for name, reference in references.items()]
    ran = subprocess.run(["docker", "buildx", "bake", "--file", "docker/bake.hcl", "--progress=plain", *words, *contexts, target],
                         cwd=ROOT, capture_output=True, text=True)  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-6000:]


@pytest.fixture
def network() -> Iterator[str]:
    """A network with PostgreSQL and Redis in it."""
    name = f"suite-{uuid.uuid4().hex[:8]}"
    references = bases.prepare(ROOT, "auto", ["postgres", "redis"], LocalHost())
    docker("network", "create", "--label", LABEL, name)
    run = ["run", "--detach", f"--label={LABEL}", f"--network={name}", "--user=999:999", "--tmpfs=/tmp:mode=1777"]
    postgres = [f"--name={name}-postgres", "--network-alias=postgres", "--env=POSTGRES_PASSWORD=suite", "--env=PGDATA=/data",
                "--tmpfs=/data:uid=999", "--tmpfs=/var/run/postgresql:uid=999,gid=999"]  # fmt: skip
    redis = [f"--name={name}-redis", "--network-alias=redis"]
    try:
        docker(*run, *postgres, references["postgres"], "docker-entrypoint.sh", "postgres")
        docker(
            *run,
            *redis,
            references["redis"],
            "redis-server",
            "--bind",
            "0.0.0.0",
            "--protected-mode",
            "no",
            "--save",
            "",
        )
        ready = ["docker", "exec", f"{name}-postgres", "pg_isready", "--host=127.0.0.1"]
        assert wait_until(lambda: subprocess.run(ready, capture_output=True).returncode == 0, 60), docker(
            "logs", f"{name}-postgres"
        )
        yield name
    finally:
        subprocess.run(
            ["docker", "rm", "--force", "--volumes", f"{name}-postgres", f"{name}-redis", f"{name}-pytest"],
            capture_output=True,
        )
        subprocess.run(["docker", "network", "rm", name], capture_output=True)


def test_backend(network: str) -> None:
    """The backend's pytest against real PostgreSQL and Redis."""
    bake("backend-test", "--load")
    ran = subprocess.run(
        ["docker", "run", f"--name={network}-pytest", f"--label={LABEL}", f"--network={network}",
         "--env=DATABASE_URL=postgresql+psycopg://postgres:suite@postgres:5432/postgres",
         "--env=REDIS_URL=redis://redis:6379/0", "bookreader/backend-test"],
        capture_output=True, text=True,
    )  # fmt: skip
    sys.stdout.write(ran.stdout[-2000:])
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert " passed" in ran.stdout


def test_frontend() -> None:
    """The frontend's type check and vitest, as a build that fails when they do."""
    bake("frontend-test")
