"""The reference app's own tests, in the images' own Python and Node."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests.support.site import ROOT, docker

LABEL = "bookreader-ops.app-suite"
PARTS = range(1, 5)  # of the backend's tests: in each most of the time goes by in waiting
pytestmark = pytest.mark.alone  # the tests of its workers count seconds


def bake(target: str, *words: str) -> None:
    """Build one test target on the base images of this machine."""
    names = ["python-build", "node"]
    references = bases.prepare(ROOT, "auto", names, LocalHost())
    contexts = [f"--set=*.contexts.{name}=docker-image://{reference}" for name, reference in references.items()]
    ran = subprocess.run(["docker", "buildx", "bake", "--file", "docker/bake.hcl", "--progress=plain", *words,
                          *contexts, target],
                         cwd=ROOT, capture_output=True, text=True)  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-6000:]


@pytest.fixture
def network() -> Iterator[str]:
    """A network with PostgreSQL in it, and a Redis for each part."""
    name = f"suite-{uuid.uuid4().hex[:8]}"
    references = bases.prepare(ROOT, "auto", ["postgres", "redis"], LocalHost())
    docker("network", "create", "--label", LABEL, name)
    # as strangers' compose files have them: started as root, with options alone, and answering other containers
    run = ["run", "--detach", f"--label={LABEL}", f"--network={name}"]
    postgres = [f"--name={name}-postgres", "--network-alias=postgres", "--env=POSTGRES_PASSWORD=suite",
                "--env=PGDATA=/new/data", "--tmpfs=/new"]  # fmt: skip
    open_redis = [references["redis"], "--save", ""]
    try:
        docker(*run, *postgres, references["postgres"], "-c", "fsync=off")
        for part in PARTS:
            docker(*run, f"--name={name}-redis-{part}", f"--network-alias=redis-{part}", *open_redis)
        ready = ["docker", "exec", f"{name}-postgres", "pg_isready", "--host=127.0.0.1"]
        assert wait_until(lambda: subprocess.run(ready, capture_output=True).returncode == 0, 60), docker(
            "logs", f"{name}-postgres"
        )
        yield name
    finally:
        own = docker("ps", "--all", "--quiet", f"--filter=network={name}").split()
        subprocess.run(["docker", "rm", "--force", "--volumes", *own], capture_output=True)
        subprocess.run(["docker", "network", "rm", name], capture_output=True)


def start_part(network: str, part: int) -> subprocess.Popen[str]:
    """Begin one part of the backend's pytest; each part makes a database of its own."""
    database = "postgresql+psycopg://postgres:suite@postgres:5432/postgres"
    environment = [f"--env=DATABASE_URL={database}", f"--env=REDIS_URL=redis://redis-{part}:6379/0"]
    pytest_words = ["python", "-m", "pytest", "-p", "no:cacheprovider", "--durations=8"]
    return subprocess.Popen(
        ["docker", "run", f"--label={LABEL}", f"--network={network}", *environment, f"--env=PART={part}/{len(PARTS)}",
         "bookreader/backend-test", *pytest_words],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_backend(network: str) -> None:
    """The backend's pytest against real PostgreSQL and Redis, in parts side by side."""
    bake("backend-test", "--load")
    with ExitStack() as stack:
        running = {part: stack.enter_context(start_part(network, part)) for part in PARTS}
        outputs = {part: process.communicate(timeout=590)[0] for part, process in running.items()}
    for part, output in outputs.items():
        sys.stdout.write(output[-2000:])
        assert running[part].returncode == 0, output[-8000:]
        assert " passed" in output


def test_frontend() -> None:
    """The frontend's type check and vitest, as a build that fails when they do."""
    bake("frontend-test")
