"""The checks that CI runs, runnable here: `nox -l` lists them."""

from __future__ import annotations

from pathlib import Path

import nox

nox.options.default_venv_backend = "none"  # bootstrap installs the hashed lock; a session adds nothing to it
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "tests"]

SCRIPTS = [
    "scripts/quickstart", "scripts/test", ".ci/run", "docker/base/customize.sh", "docker/base/postgres/customize.sh",
    "docker/base/postgres/entrypoint.sh", "docker/base/redis/customize.sh", "docker/frontend/publish", "scripts/deploy.sh",
    "scripts/blue-green-deploy.sh", "tests/apps/template/prestart/prestart", "tests/apps/template/frontend/publish",
]  # fmt: skip


@nox.session(tags=["quick"])
def lint(session: nox.Session) -> None:
    """Style, imports that go down, shell scripts."""
    session.run("ruff", "check", external=True)
    session.run("ruff", "format", "--check", external=True)
    session.run("lint-imports", external=True)
    session.run("shellcheck", *SCRIPTS, external=True)


@nox.session(tags=["quick"])
def types(session: nox.Session) -> None:
    """Check strict types over code, tests and noxfile."""
    session.run("mypy", external=True)


@nox.session
def tests(session: nox.Session) -> None:
    """Run every test, quick ones first; needs a Docker engine."""
    session.run("pytest", "tests/unit", "tests/flow", "tests/integration", *session.posargs, external=True)


@nox.session(default=False)
def nights(session: nox.Session) -> None:
    """Run the full matrix of bad nights with real faults, and write docs/nights.md; takes up to two hours on two cores."""
    if not session.posargs:
        Path("docs/nights.md").unlink(missing_ok=True)  # nights that are no more go with it
    everything = {"NIGHTS": "1", "NIGHTS_REPORT": "docs/nights.md"}
    matrix = ["tests/nights", "tests/integration/test_interrupted.py", "tests/integration/test_watch.py"]
    session.run("pytest", *matrix, *session.posargs, env=everything, external=True)
