"""The checks that CI runs, runnable here: `nox -l` lists them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.default_venv_backend = "none"  # bootstrap installs the hashed lock; a session adds nothing to it
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests"]

SCRIPTS = [
    "scripts/quickstart", "scripts/test", ".ci/run", "docker/base/customize.sh", "docker/base/postgres/customize.sh",
    "docker/base/postgres/entrypoint.sh", "docker/base/redis/customize.sh", "docker/frontend/publish",
    "scripts/deploy.sh",
    "scripts/blue-green-deploy.sh", "tests/apps/template/prestart/prestart", "tests/apps/template/frontend/publish",
    *map("docker/backup/{}".format, ("login", "take", "verify", "restore", "amcheck", "swap", "databases", "drop")),
]  # fmt: skip
TWO = ["--numprocesses=2", "--dist=loadgroup"]
TWO_FILES = [
    "--numprocesses=2",
    "--dist=loadfile",
    "--no-loadscope-reorder",
]  # a file's tests share a site and have an order
RUNS = [
    ["tests/unit", "tests/flow", *TWO],
    ["tests/integration", "-m", "not alone", *TWO_FILES],
    ["tests/integration", "-m", "alone"],
]


@nox.session(tags=["quick"])
def lint(session: nox.Session) -> None:
    """Style, imports that go down, shell scripts."""
    session.run("ruff", "check", external=True)
    session.run("ruff", "format", "--check", external=True)
    session.run("lint-imports", external=True)
    session.run("shellcheck", "--external-sources", *SCRIPTS, external=True)


@nox.session(tags=["quick"])
def types(session: nox.Session) -> None:
    """Check strict types over code, tests and noxfile."""
    session.run("mypy", external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test, quick ones first; needs a Docker engine. What follows `--` goes to every one of pytest's runs."""
    failed = False
    none_chosen = [5] if session.posargs else []  # a choice such as `-k tiny` may leave a run without a test
    with tempfile.TemporaryDirectory() as folder:
        for run in RUNS:
            words = [*run, f"--seconds={folder}/seconds.json", *session.posargs]
            try:
                session.run("pytest", *words, external=True, success_codes=[0, *none_chosen])
            except CommandFailed:
                failed = True  # the other tests have something to say, too
    if failed:
        session.error("some tests failed")


@nox.session(default=False)
def nights(session: nox.Session) -> None:
    """Run all bad nights with real faults, and write docs/nights.md; takes up to two hours on two cores."""
    if not session.posargs:
        Path("docs/nights.md").unlink(missing_ok=True)  # nights that are no more go with it
    everything = {"NIGHTS": "1", "NIGHTS_REPORT": "docs/nights.md"}
    names = ("dev", "interrupted", "migrations", "rolling", "shipping", "template", "watch")
    wider = [f"tests/integration/test_{name}.py" for name in names]
    matrix = ["tests/nights", *wider]
    session.run("pytest", *matrix, *session.posargs, env=everything, external=True)
