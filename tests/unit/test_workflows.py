"""The workflows set up and call `inv` or `nox`; what else they may do is said here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import noxfile
from deploy.config.settings import ROOT
from deploy.core import yaml
from deploy.tasks import namespace
from tests.support import workflows

COMMANDS = {name: namespace[name] for own, others in namespace.task_names.items() for name in (own, *others)}
SET_UP = re.compile(
    r"python3 scripts/bootstrap\.py( --tests)?|\.venv/bin/python scripts/ci_sessions\.py|scripts/ci-credentials [a-z]+"
)
CALL = re.compile(r"\.venv/bin/inv ([a-z.]+)((?: --[a-z-]+(?:=[\w.^-]+)?)*)")
SESSION = '.venv/bin/nox --session "$SESSION"'
# what GitHub puts in by itself; all else that stands in ${{ }} may be of whoever opened the pull request
EXPRESSIONS = {
    "github.ref", "matrix.session", "secrets.SECRETS_FILE", "secrets.SSH_KEY", "steps.list.outputs.names",
    "fromJSON(needs.sessions.outputs.names)",
}  # fmt: skip
DEPLOYING = ("build", "deploy", "backup-drill")
each = pytest.mark.parametrize("name", workflows.NAMES)


def test_these_are_all() -> None:
    assert {path.stem for path in workflows.FOLDER.iterdir()} == {*workflows.NAMES}


@each
def test_every_action_is_pinned_by_its_commit_with_the_version_beside_it(name: str) -> None:
    used = re.findall(r"uses: (.*)", workflows.path(name).read_text())
    assert used
    assert [line for line in used if not re.fullmatch(r"[\w-]+(/[\w-]+)+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", line)] == []


@each
def test_a_job_may_read_the_code_and_only_what_uploads_findings_may_more(name: str) -> None:
    workflow = workflows.read(name)
    assert workflow["permissions"] == {}
    more = {"security-events": "write"} if name == "security" else {}
    for job in workflow["jobs"].values():
        assert job["permissions"] == {"contents": "read"} | more
        assert job["timeout-minutes"] <= 90
    checkouts = [step for step in workflows.steps(name) if step.uses.startswith("actions/checkout@")]
    assert len(checkouts) == len(workflow["jobs"])
    assert all(step.options["persist-credentials"] is False for step in checkouts)


@each
def test_a_step_sets_up_or_calls_inv_or_nox(name: str) -> None:
    for step in workflows.steps(name):
        if not step.run or SET_UP.fullmatch(step.run) or step.run == SESSION:
            continue
        call = CALL.fullmatch(step.run)
        assert call, step.run
        flags = {f"--{argument.name.replace('_', '-')}" for argument in COMMANDS[call[1]].get_arguments()}
        assert {word.partition("=")[0] for word in call[2].split()} <= flags


@each
def test_nothing_of_a_stranger_reaches_a_shell_and_no_secret_a_command_line(name: str) -> None:
    text = workflows.path(name).read_text()
    assert {*re.findall(r"\$\{\{ (.*?) \}\}", text)} <= EXPRESSIONS
    assert text.count("${{") == len(re.findall(r"\$\{\{ .*? \}\}", text))
    assert not {"pull_request_target", "workflow_run", "issue_comment"} & {*re.findall(r"\w+", text)}
    assert not re.search(r"keyscan|StrictHostKeyChecking|\bsleep\b", text)
    for step in workflows.steps(name):
        assert "${{" not in step.run
        secrets = [value for value in step.env.values() if "secrets." in value]
        assert not secrets or step.run.startswith("scripts/ci-credentials ")


@pytest.mark.parametrize("name", DEPLOYING)
def test_what_reaches_hosts_has_an_environment_is_never_cut_off_and_skips_where_there_are_no_secrets(name: str) -> None:
    workflow = workflows.read(name)
    assert workflow["concurrency"]["cancel-in-progress"] is False
    assert all(job["environment"] for job in workflow["jobs"].values())
    lines = workflows.steps(name)
    given = next(number for number, step in enumerate(lines) if step.id == "credentials")
    before = [step.run for step in lines[:given] if step.run.startswith(".venv/bin/inv")]
    assert all(line.startswith(".venv/bin/inv build ") for line in before), "it needs none"
    conditions = {step.run: step.condition for step in lines[given + 1 :]}
    gates = [line for line in conditions if line.startswith(".venv/bin/inv scan ")]
    assert [conditions.pop(line) for line in gates] == [""] * len(gates), "in a fork, too"
    assert {*conditions.values()} == {"steps.credentials.outputs.ready == 'true'"}


def test_a_release_takes_nothing_from_a_cache() -> None:
    assert "cache" not in workflows.path("deploy").read_text().lower().replace("nothing is taken from a cache", "")
    assert "ghaction-github-runtime" not in workflows.path("deploy").read_text()
    assert "type=gha" in workflows.path("build").read_text()


def test_pull_requests_run_what_ci_runs_and_nox_names_it_in_one_order(tmp_path: Path) -> None:
    output = tmp_path / "output"
    environment = {**os.environ, "GITHUB_OUTPUT": str(output)}
    subprocess.run([sys.executable, "scripts/ci_sessions.py"], cwd=ROOT, check=True, env=environment)
    listed = json.loads(output.read_text().removeprefix("names="))
    assert listed == noxfile.CI
    assert ".venv/bin/nox --sessions ci" in (ROOT / "scripts/test").read_text()
    assert "exec ./scripts/test" in (ROOT / ".ci/run").read_text()
    lines = [step.run for step in workflows.steps("test") if "nox" in step.run]
    assert lines == [SESSION]


def test_a_pull_request_is_stopped_by_what_it_adds_alone_in_each_workflow_that_scans() -> None:
    """Both need its first parent, which is not in a clone of depth one."""
    assert noxfile.only_new({"GITHUB_EVENT_NAME": "pull_request"}) == ["--against=HEAD^1"]
    assert noxfile.only_new({"GITHUB_EVENT_NAME": "push"}) == noxfile.only_new({}) == []
    requested = [step.run for step in workflows.steps("security") if step.condition.endswith("== 'pull_request'")]
    assert requested == [".venv/bin/inv scan --against=HEAD^1 --sarif=scan.sarif"]
    for name, job in (("security", "scan"), ("test", "session")):
        cloned = workflows.read(name)["jobs"][job]["steps"][0]
        assert cloned["with"]["fetch-depth"] == 0, name


def test_what_dependabot_proposes_is_a_week_old_as_our_own_locks_are() -> None:
    document = yaml.load((ROOT / ".github/dependabot.yml").read_text())
    proposed = {one["package-ecosystem"]: one["directory"] for one in document["updates"]}
    assert proposed == {"github-actions": "/", "npm": "/frontend"}
    assert (ROOT / "frontend/package-lock.json").is_file()
    assert [one["cooldown"]["default-days"] for one in document["updates"]] == [7, 7]


def test_the_menu_of_nox_says_what_each_session_is_for() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "nox", "--list"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    menu = re.findall(r"(?m)^[*-] (\w+)(?: \[.*?\])? -> (.{20,100})$", printed.stdout)
    assert [name for name, _ in menu] == [*noxfile.CI, "ci", "monitoring_live", "nights"]


def test_the_line_of_a_session_runs_it() -> None:
    line = SESSION.replace(".venv/bin", str(Path(sys.executable).parent))
    environment = {**os.environ, "SESSION": "lint"}
    ran = subprocess.run(["bash", "-e", "-c", line], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    assert "Session lint was successful" in ran.stderr
