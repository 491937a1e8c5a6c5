"""The checks that CI runs, runnable here: `nox --list` is the menu."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.options.default_venv_backend = "none"  # bootstrap installs the hashed lock; a session adds nothing to it
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["lint", "types", "unit"]
# whether .venv is activated or not
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
# where the shell forbids bytecode, each pytest would prepare all tests again, for up to 4 s
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
os.environ["PYTHONPYCACHEPREFIX"] = str(Path(".nox/bytecode").absolute())

SCRIPTS = [
    "scripts/quickstart", "scripts/test", ".ci/run", "docker/base/customize.sh", "docker/base/postgres/customize.sh",
    "docker/base/postgres/entrypoint.sh", "docker/base/redis/entrypoint.sh",
    *map("docker/base/{}/customize.sh".format, ("redis", "monitoring", "nginx", "node", "python", "python-build")),
    "docker/frontend/publish", "scripts/ci-credentials", "infra/terraform/volume.sh",
    "infra/ansible/roles/firewall/files/bookreader-ops-firewall",
    *map("scripts/{}.sh".format, ("inv", "deploy", "backup", "migrate-and-deploy", "setup-monitoring")),
    "scripts/blue-green-deploy.sh", "tests/apps/template/prestart/prestart", "tests/apps/template/frontend/publish",
    *map("docker/backup/{}".format, ("login", "take", "verify", "restore", "amcheck", "swap", "databases", "drop")),
    *map("docker/backup/{}".format, ("on", "offsite", "fetch", "losses", "table", "upload", "header", "import")),
    *map("docker/backup/{}".format, ("dump", "receive", "streamer", "stretch", "base", "ship", "held", "fresh")),
    "docker/backup/recover",
]  # fmt: skip
TWO = ["--numprocesses=2", "--dist=loadgroup"]
THREE = ["--numprocesses=3", "--dist=loadgroup"]  # threads and locks of fake hosts wait for each other
# a file's tests share a site and have an order; a fourth worker gains nothing, the processors are busy
THREE_FILES = ["--numprocesses=3", "--dist=loadfile", "--no-loadscope-reorder"]
SUITES = "tests/integration/test_app_suites.py"
COVERAGE = Path(".nox/coverage")
FOLDER = tempfile.TemporaryDirectory(prefix="nox-")  # the sessions of one call sum up seconds and failures in here
# what `.ci/run` and pull requests run, quick ones first
CI = ["lint", "types", "docs", "security", "unit", "flow", "frontend", "backend", "integration"]
# files of tests/integration that have second cases, or more of them with NIGHTS=1
WIDER = [
    "test_backup", "test_dev", "test_drill", "test_fleet", "test_interrupted", "test_migrations",
    "test_no_request_lost", "test_registry", "test_rolling", "test_scan", "test_shared_and_warm", "test_shipping",
    "test_template", "test_watch",
]  # fmt: skip


def run_tests(session: nox.Session, *runs: list[str]) -> None:
    """Run pytest, once for each list of words; the failure of one run does not stop the others."""
    none_chosen = [5] if session.posargs else []  # a choice such as `-k tiny` may leave a run without a test
    failed = False
    for run in runs:
        words = [*run, f"--summary={FOLDER.name}/summary.json", *session.posargs]
        try:
            session.run("pytest", *words, external=True, success_codes=[0, *none_chosen])
        except CommandFailed:
            failed = True
    if failed:
        session.error("some tests failed")


def only_new(environ: Mapping[str, str]) -> list[str]:
    """Return the flag that has only new findings stop a pull request: those that its first parent lacks."""
    return ["--against=HEAD^1"] if environ.get("GITHUB_EVENT_NAME") == "pull_request" else []


@nox.session(tags=["quick", "ci"])
def lint(session: nox.Session) -> None:
    """Style, imports that go down, shell scripts, what is set up on servers."""
    session.run("ruff", "check", external=True)
    session.run("ruff", "format", "--check", external=True)
    session.run("lint-imports", external=True)
    session.run("shellcheck", "--external-sources", *SCRIPTS, external=True)
    session.run("ansible-lint", "--offline", "--strict", "--profile=production", "infra/ansible", external=True)


@nox.session(tags=["quick", "ci"])
def types(session: nox.Session) -> None:
    """Strict types over code, tests and noxfile."""
    session.run("mypy", external=True)


@nox.session(tags=["quick", "ci"])
def docs(session: nox.Session) -> None:
    """README and docs against the code: links, anchors, commands, settings, errors."""
    run_tests(session, ["tests/unit/test_docs.py"])


@nox.session(tags=["quick", "ci"])
def security(session: nox.Session) -> None:
    """Scan images, files, history and workflows, as `inv scan` does, and run the scan's own tests."""
    session.run("inv", "scan", *only_new(os.environ), external=True)
    units = [f"tests/unit/test_{name}.py" for name in ("scan", "linters", "judged", "workflows")]
    run_tests(session, [*units, "tests/flow/test_scanned.py", *TWO])


@nox.session(tags=["quick", "ci"])
def unit(session: nox.Session) -> None:
    """Decisions: exact plans, commands, renderings; coverage of branches. No network, no engine."""
    COVERAGE.parent.mkdir(exist_ok=True)
    session.env["COVERAGE_FILE"] = str(COVERAGE)
    measured = ["--cov=deploy", "--cov-branch", "--cov-report="]
    run_tests(session, ["tests/unit", "--ignore=tests/unit/test_docs.py", *TWO, *measured])
    if not session.posargs:  # a choice of tests covers what it covers
        session.log("percent of lines and branches; `coverage report --data-file=.nox/coverage` shows each file's:")
        session.run("coverage", "report", "--format=total", external=True)


@nox.session(tags=["ci"])
def flow(session: nox.Session) -> None:
    """Commands from end to end on fake hosts; real git, Compose and files."""
    run_tests(session, ["tests/flow", *THREE])


@nox.session(tags=["ci"])
def frontend(session: nox.Session) -> None:
    """Run the reference app's frontend tests; needs a Docker engine, as all that follow."""
    run_tests(session, [f"{SUITES}::test_frontend"])


@nox.session(tags=["ci"])
def backend(session: nox.Session) -> None:
    """Run the reference app's backend tests on real PostgreSQL and Redis."""
    run_tests(session, [f"{SUITES}::test_backend"])


@nox.session(tags=["ci"])
def integration(session: nox.Session) -> None:
    """Sites on a real engine and real hosts over SSH; a quarter of an hour and more."""
    everything = ["tests/integration", f"--ignore={SUITES}"]
    run_tests(session, [*everything, "-m", "not alone", *THREE_FILES], [*everything, "-m", "alone"])


@nox.session(default=False)
def ci(session: nox.Session) -> None:
    """All of the above, as `.ci/run` does; what follows `--` goes to every pytest."""
    for name in CI:
        session.notify(name, session.posargs)


@nox.session(default=False)
def monitoring_live(session: nox.Session) -> None:
    """Start the real Grafana, Loki and Alloy: every panel, a line of every container; needs a registry."""
    run_tests(session, ["tests/live"])


@nox.session(default=False)
def nights(session: nox.Session) -> None:
    """Real faults for two hours, into docs/nights.md; `-- --room=data` those of one room alone."""
    if not session.posargs:
        Path("docs/nights.md").unlink(missing_ok=True)  # nights that are no more go with it
    everything = {"NIGHTS": "1", "NIGHTS_REPORT": "docs/nights.md"}
    matrix = ["tests/nights", *(f"tests/integration/{name}.py" for name in WIDER)]
    session.run("pytest", *matrix, *session.posargs, env=everything, external=True)
