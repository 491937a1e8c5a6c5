"""Promise: what is planted in files, configuration and history is found by the real scanners.

Nothing passes that was not looked at.
"""

from __future__ import annotations

import os
import random
import shutil
import string
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.config.loader import load
from deploy.config.settings import Settings
from deploy.hosts.local import LocalHost
from deploy.security import inspect, judge
from deploy.security.findings import Inspection
from deploy.security.linters import LINTERS
from deploy.security.trivy import Data

WORKFLOW = """
name: a
on: pull_request_target
jobs:
  one:
    runs-on: ubuntu-latest
    steps:
      - run: echo ${{ github.event.pull_request.title }}
"""
FINE = """
name: a
on: push
permissions: {}
jobs:
  one:
    name: one
    runs-on: ubuntu-latest
    steps:
      - run: "true"
"""
NONE = Data(unknown="no vulnerability database", then="scan.databases")


class Checkout:
    """A repository in which nothing is wrong, until something is planted."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        self.settings: Settings = load("local").model_copy(update={"root": folder})
        self.git("init", "--quiet")
        self.write("docker/app.Dockerfile", "FROM python:3.11\nUSER 10001\n")
        self.write("scripts/run", "#!/bin/sh\necho hello\n")
        self.write(".github/workflows/a.yml", FINE)
        self.write("requirements.txt", "flask==3.0\n")
        self.write(".gitignore", "cache/\n.env\n")
        self.commit()

    def git(self, *words: str) -> None:
        who = ("-c", "user.name=ann", "-c", "user.email=ann@example.test", "-c", "commit.gpgsign=false")
        subprocess.run(["git", *who, *words], cwd=self.root, check=True, capture_output=True)

    def write(self, path: str, text: str) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def commit(self) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "-m", "change")

    def inspections(self) -> dict[str, Inspection]:
        """Look at all of it, as `inv scan` does."""
        here = LocalHost()
        files = inspect.tracked(self.settings, here)
        inspections = [inspect.lint(linter, self.settings, here, files) for linter in LINTERS]
        inspections += inspect.checkout(self.settings, here, NONE, files)
        inspections.append(inspect.history(self.settings, here))
        return {inspection.kind: inspection for inspection in inspections}

    def results(self) -> dict[str, str]:
        return {
            kind: judge.judge(inspection, (), {}, self.settings).result
            for kind, inspection in self.inspections().items()
        }


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "checkout").mkdir()
    return Checkout(tmp_path / "checkout")


def key() -> str:
    """Make a text that is shaped like a key of AWS."""
    return "AKIA" + "".join(random.choices(string.ascii_uppercase, k=16))


def plant(checkout: Checkout) -> None:
    """Plant one fault for each check."""
    checkout.write("deploy/old", f"aws_key = {key()}\n")
    checkout.commit()
    checkout.git("rm", "--quiet", "deploy/old")
    checkout.commit()
    checkout.write("docker/app.Dockerfile", "FROM python:3.11\nWORKDIR app\nUSER root\n")
    checkout.write("scripts/run", "#!/bin/sh\nif [ $1 = a ]; then echo b\n")
    checkout.write(".github/workflows/a.yml", WORKFLOW)
    checkout.write(".github/workflows/b.yml", FINE.replace("runs-on", "run-on"))
    checkout.write("deploy/app.toml", f"key = '{key()}'\n")


PLANTED = {
    "dockerfiles": "docker/app.Dockerfile", "shell": "scripts/run", "workflows": ".github/workflows/a.yml",
    "actions": ".github/workflows/b.yml", "secrets": "deploy/app.toml", "misconfigurations": "docker/app.Dockerfile",
    "history": "deploy/old",
}  # fmt: skip


def test_where_nothing_is_wrong_everything_passes_but_what_has_no_data(checkout: Checkout) -> None:
    """What git ignores is passed over: a key in it is not in the checkout."""
    checkout.write(".env", f"KEY={key()}\n")
    checkout.write("cache/old", f"KEY={key()}\n")
    assert checkout.results() == dict.fromkeys(PLANTED, "PASS") | {"vulnerabilities": "UNKNOWN"}


BY_TRIVYS_OWN_RULES = ("tests/a.py", "docs/a.md", "example/a.py", "app/vendor/a.py", "app/locale/a.py", "my file.md",
                       "usr/lib/a.py", "a.dist-info/a.py")  # fmt: skip


def test_no_file_of_the_checkout_is_passed_over_for_its_name(checkout: Checkout) -> None:
    """As Trivy's own rules would pass over tests, documents and examples."""
    for path in BY_TRIVYS_OWN_RULES:
        checkout.write(path, f"key = '{key()}'\n")
    _, secrets, _ = inspect.checkout(checkout.settings, LocalHost(), NONE, BY_TRIVYS_OWN_RULES)
    assert {finding.path for finding in secrets.findings} == set(BY_TRIVYS_OWN_RULES)


def of_a_merge(checkout: Checkout) -> None:
    """Plant what only the merge itself brings."""
    checkout.git("switch", "--quiet", "--create=other")
    checkout.write("a", "a")
    checkout.commit()
    checkout.git("switch", "--quiet", "-")
    checkout.write("b", "b")
    checkout.commit()
    checkout.git("merge", "--quiet", "--no-commit", "other")
    checkout.write("planted", f"key = '{key()}'\n")
    checkout.commit()


def of_a_file_called_binary(checkout: Checkout) -> None:
    checkout.write(".gitattributes", "planted -diff\n")
    checkout.write("planted", f"key = '{key()}'\n")
    checkout.commit()


def with_settings_of_git(checkout: Checkout) -> None:
    """Plant it under settings that a person has for reading logs, the root commit's among them."""
    settings = {"log.date": "relative", "log.showRoot": "false", "diff.external": "true", "color.ui": "always",
                "format.pretty": "oneline"}  # fmt: skip
    for name, value in settings.items():
        checkout.git("config", name, value)
    checkout.write("planted", f"key = '{key()}'\n")
    checkout.git("add", "--all")
    checkout.git("commit", "--quiet", "--amend", "-m", "all")


def passed_over_by_a_replacement(checkout: Checkout) -> None:
    """Plant it in a commit that `git replace` leaves out here; whoever clones this has it."""
    for text in (f"key = '{key()}'\n", "none\n"):
        checkout.write("planted", text)
        checkout.commit()
    checkout.git("replace", "--graft", "HEAD", "HEAD~2")


def with_a_comment_that_allows_it(checkout: Checkout) -> None:
    """Plant it on a line that gitleaks passes over, as it stands in the first answer to every search."""
    checkout.write("planted", f"key = '{key()}'  # gitleaks:allow\n")
    checkout.commit()


WAYS = [
    of_a_merge, of_a_file_called_binary, with_settings_of_git, passed_over_by_a_replacement,
    with_a_comment_that_allows_it,
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_the_whole_history_is_looked_at(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: Callable[[Checkout], None]
) -> None:
    (tmp_path / "mine.toml").write_text("[allowlist]\npaths = ['.*']\n")
    monkeypatch.setenv("GITLEAKS_CONFIG", str(tmp_path / "mine.toml"))
    way(checkout)
    checkout.git("rm", "--quiet", "planted")
    checkout.commit()
    inspection = inspect.history(checkout.settings, LocalHost())
    assert [finding.path for finding in inspection.findings] == ["planted"]


def lose_a_file(checkout: Checkout, _: Path, __: pytest.MonkeyPatch) -> None:
    """Lose a file of an early commit, as a damaged disk or a partial clone without its remote has none."""
    asked = ["git", "rev-parse", "HEAD~19:lost"]
    name = subprocess.run(asked, cwd=checkout.root, check=True, capture_output=True, text=True).stdout.strip()
    (checkout.root / ".git/objects" / name[:2] / name[2:]).unlink()


def kill_git(_: Checkout, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kill git in the middle of its log without a word, as a machine that is out of memory does."""
    log = f'{shutil.which("git")} "$@" | head -c 2000; kill -9 $$'
    script = f'#!/bin/sh\ncase "$*" in *" log "*) {log} ;; *) exec {shutil.which("git")} "$@" ;; esac\n'
    (folder / "bin").mkdir()
    (folder / "bin/git").write_text(script)
    (folder / "bin/git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


@pytest.mark.parametrize("fault", [lose_a_file, kill_git])
def test_a_log_that_git_does_not_print_to_its_end_is_unknown(
    checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Checkout, Path, pytest.MonkeyPatch], None],
) -> None:  # fmt: skip
    """Where gitleaks itself says that it scanned some commits, found no leak, and ends with 0."""
    checkout.write("planted", f"key = '{key()}'\n")
    checkout.commit()
    for number in range(20):
        checkout.write("lost" if number == 0 else "more", f"{number}\n")
        checkout.commit()
    fault(checkout, tmp_path, monkeypatch)
    inspection = inspect.history(checkout.settings, LocalHost())
    assert "and then failed: [git] " in inspection.unknown
    assert "git fsck" in inspection.then


def hide(checkout: Checkout) -> None:
    """Write the files by which scanners let things through, without an owner and an end."""
    checkout.write(".trivyignore", "DS-0002\naws-access-key-id\n")
    checkout.write("trivy.yaml", "severity: [LOW]\n")
    checkout.write("trivy-secret.yaml", "disable-rules: [aws-access-key-id]\n")
    checkout.write(".gitleaks.toml", "[allowlist]\npaths = ['.*']\n")
    checkout.write(".hadolint.yaml", "ignored: [DL3000]\n")
    checkout.write(".shellcheckrc", "disable=all\n")
    rules = ("template-injection", "dangerous-triggers", "excessive-permissions")
    checkout.write(".github/zizmor.yml", "rules:\n" + "".join(f"  {one}: {{disable: true}}\n" for one in rules))
    checkout.write(".github/actionlint.yaml", "paths:\n  .github/workflows/**/*.yml: {ignore: ['.*']}\n")


def test_what_is_planted_is_found_and_nothing_hides_it(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the check that is for it, whatever the scanners' own files and variables say."""
    monkeypatch.setenv("TRIVY_SEVERITY", "LOW")
    hide(checkout)
    plant(checkout)
    inspections = checkout.inspections()
    for kind, path in PLANTED.items():
        judged = judge.judge(inspections[kind], (), {}, checkout.settings)
        assert path in {finding.path for finding in judged.blocking}, (kind, inspections[kind])


HIDDEN = {
    "SHELLCHECK_OPTS": "--severity=error",
    "HADOLINT_IGNORE": "DL3004,DL3006,DL3007",
    "HADOLINT_OVERRIDE_INFO": "DL3004,DL3006,DL3007",
}


def test_variables_of_a_shell_hide_nothing_from_linters(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout.write("docker/bad.Dockerfile", "FROM debian:latest\nRUN sudo id\nUSER 10001\n")
    checkout.write("scripts/bad", "#!/bin/sh\nread x\necho $x\n")
    checkout.commit()
    kinds = ("dockerfiles", "shell")
    plain = {kind: checkout.inspections()[kind].findings for kind in kinds}
    for name, value in HIDDEN.items():
        monkeypatch.setenv(name, value)
    assert all(plain.values())
    assert {kind: checkout.inspections()[kind].findings for kind in kinds} == plain


def test_a_shallow_clone_has_no_history_to_pass(checkout: Checkout, tmp_path: Path) -> None:
    checkout.write("more", "a second commit")
    checkout.commit()
    subprocess.run(
        ["git", "clone", "--quiet", "--depth=1", f"file://{checkout.root}", str(tmp_path / "shallow")], check=True
    )
    settings = checkout.settings.model_copy(update={"root": tmp_path / "shallow"})
    inspection = inspect.history(settings, LocalHost())
    assert "not the whole history" in inspection.unknown
    assert "fetch-depth: 0" in inspection.then
