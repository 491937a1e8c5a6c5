"""The workflows on BookReader itself: a tag is deployed, and the weekly drill restores its backup."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.config import secrets
from tests.integration.conftest import machine, machines
from tests.integration.test_backup import BOOK
from tests.integration.test_registry import WORD, Proxy, proxy
from tests.integration.test_workflows import MAIN, TAG, commands, host, name_host, require_success, run, scan, serves
from tests.machines import Fleet, Machine
from tests.support import workflows
from tests.support.runner import Runner
from tests.support.site import ROOT, Site, copy_checkout

__all__ = ["host", "machine", "machines", "proxy", "scan"]  # fixtures
PSQL = ("psql", "--host=/var/run/postgresql", "--username=bookreader", "-qtAc")


@pytest.fixture
def books(tmp_path: Path, host: Machine, proxy: Proxy, scan: str) -> Iterator[Site]:
    """A repository of BookReader, and a host in both environments' files."""
    site = Site(tmp_path / "team")
    copy_checkout(site)
    name_host(site, host, proxy, scan)
    yield site
    site.sweep()


def test_a_tag_is_deployed_and_its_backup_drilled(books: Site, host: Machine, machines: Fleet, tmp_path: Path) -> None:
    """No fault: every line of deploy and backup-drill on a clean checkout, to a real host by a real registry."""
    own = secrets.generate((ROOT / ".env.example").read_text())
    protected = {"SSH_KEY": machines.key.read_text(), "SECRETS_FILE": f"{own}\nREGISTRY_PASSWORD='{WORD}'"}
    books.git("tag", "v1.0.0")
    runner = Runner(tmp_path / "runner", books.root)
    tagged = run(runner, "deploy", TAG, protected)
    require_success(tagged)
    assert commands(tagged) == ["build", "scan", "push", "deploy", "status"]
    release = serves(books, host, "prod", "/api/version")
    assert release.startswith(books.git("rev-parse", "v1.0.0")[:12])

    host.exec("docker", "exec", "bookreader-prod-postgres-1", *PSQL, BOOK.replace("TITLE", "Fox"), "bookreader")
    take_backup(books, machines)
    drilled = run(runner, "backup-drill", MAIN, protected)
    require_success(drilled)
    assert {check["result"] for check in points(drilled[-1].output)[0]["checks"]} == {"PASS"}


def test_the_line_that_pull_requests_run_runs_a_session_on_a_clean_checkout(tmp_path: Path) -> None:
    """No fault: the one line of test.yml that calls nox, for `lint`; the others are the sessions of `.ci/run`."""
    site = Site(tmp_path / "team")
    copy_checkout(site)
    site.git("branch", "-M", "main")
    runner = Runner(tmp_path / "runner", site.root)
    checkout = runner.check_out(tmp_path / "place", MAIN)
    environment = runner.environment(tmp_path / "place", checkout, MAIN) | {"SESSION": "lint"}
    (line,) = [step.run for step in workflows.steps("test") if "nox" in step.run]
    words = ["bash", "-e", "-c", line]
    done = subprocess.run(words, cwd=checkout, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Session lint was successful" in done.stderr
    (checkout / "deploy/core/shell.py").write_text("import os\n")
    assert subprocess.run(words, cwd=checkout, env=environment, capture_output=True, timeout=300).returncode == 1


def take_backup(books: Site, machines: Fleet) -> None:
    """Take a recovery point of prod, as a person does."""
    own = {**os.environ, "OPS_SSH__KEY_FILE": str(machines.key)}
    subprocess.run(
        [sys.executable, "-m", "invoke", "backup", "--env=prod"], cwd=books.root, env=own, check=True, timeout=300
    )


def points(output: str) -> Any:
    """Read the document on stdout, which is a runner's log together with what is for people."""
    return json.loads(output[output.index("{\n") :])["points"]
