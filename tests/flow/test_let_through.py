"""Promise: no comment lets a finding through unseen, and no name of a file or folder keeps a scanner from looking."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.hosts.local import LocalHost
from deploy.images import bake, build
from deploy.security import inspect, judge, linters, trivy
from deploy.security.findings import Inspection
from tests.flow.test_scanners import FINE, NONE, WORKFLOW, Checkout, key

BAD = "FROM python:3.11\nWORKDIR app\nUSER root\n"
IGNORING = WORKFLOW.replace("title }}", "title }}  # zizmor: ignore[template-injection]").replace(
    "target", "target # zizmor: ignore[dangerous-triggers]"
)
ACTION = (
    "name: a\ndescription: a\nruns:\n  using: composite\n  steps:\n"
    "    - shell: bash\n      run: echo ${{ github.head_ref }}\n"
)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    (tmp_path / "checkout").mkdir()
    return Checkout(tmp_path / "checkout")


def look(checkout: Checkout, kind: str) -> Inspection:
    """Look at the checkout with the scanner of one kind alone."""
    files, here = inspect.tracked(checkout.settings, LocalHost()), LocalHost()
    for linter in linters.LINTERS:
        if linter.kind == kind:
            return inspect.lint(linter, checkout.settings, here, files)
    return next(one for one in inspect.checkout(checkout.settings, here, NONE, files) if one.kind == kind)


@pytest.mark.parametrize(
    ("path", "text", "kind", "found"),
    [
        ("a.Dockerfile", f"# hadolint global ignore=DL3000\n{BAD}", "dockerfiles", "DL3000"),
        ("a.Dockerfile", BAD.replace("WORK", "# hadolint ignore=DL3000\nWORK"), "dockerfiles", "DL3000"),
        ("a.Dockerfile", BAD.replace("USER", "#trivy:ignore:DS-0002\nUSER"), "misconfigurations", "ignored-inline"),
        (".github/workflows/b.yml", IGNORING, "workflows", "template-injection"),
        ("a.dockerfile", BAD, "dockerfiles", "DL3000"),
        (".github/actions/a/action.yml", ACTION, "workflows", "template-injection"),
    ],
)
def test_a_comment_or_a_name_hides_nothing(checkout: Checkout, path: str, text: str, kind: str, found: str) -> None:
    checkout.write(path, text)
    judged = judge.judge(look(checkout, kind), (), {}, checkout.settings)
    assert (found, path) in {(one.id, one.path) for one in judged.blocking}


def test_a_comment_in_a_script_shows_as_less_severe(checkout: Checkout) -> None:
    """ShellCheck has no way to refuse it, and mostly it is about style."""
    checkout.write("scripts/run", "#!/bin/sh\n# shellcheck disable=all\nfor i in $(ls); do echo $i; done\n")
    (finding,) = look(checkout, "shell").findings
    assert (finding.id, finding.severity, finding.place) == ("ignored-inline", "LOW", "scripts/run:2")


def test_the_line_of_such_a_comment_is_not_shown() -> None:
    """It may hold what nobody should read in a log."""
    (one,) = linters.comments(
        "misconfigurations", trivy.IGNORED, "HIGH", "a.tf", 'p = "hunter2"  # trivy:ignore:AWS-1 x'
    )
    assert one.title == "a comment lets findings through: trivy:ignore:AWS-1"


def test_a_dockerfile_of_the_bake_file_is_looked_at_by_whatever_name(
    checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "read_targets", lambda *_: [bake.Target("a", "shop/a", dockerfile="app,1.build")])
    checkout.write("app,1.build", BAD)
    checkout.write(checkout.settings.bake, "")
    for kind in ("dockerfiles", "misconfigurations"):
        assert "app,1.build" in {one.path for one in look(checkout, kind).findings}


def test_a_workflow_that_zizmor_cannot_read_is_unknown(checkout: Checkout) -> None:
    """It warns, looks at the others, and ends with 0."""
    checkout.write(".github/workflows/b.yml", FINE.replace("runs-on", "run-on"))
    inspection = look(checkout, "workflows")
    assert inspection.unknown.startswith("zizmor did not look at all of them: failed to validate")
    assert ".github/workflows/b.yml" in inspection.unknown


@pytest.mark.parametrize("name", ["old,docker", "**"])
def test_a_folder_that_git_ignores_takes_no_other_with_it(checkout: Checkout, name: str) -> None:
    """Trivy reads what it is to pass over as a list of patterns."""
    checkout.write(f"{name}/kept", "old")
    checkout.write(".gitignore", "old,docker/\n[*][*]/\n")
    checkout.write("docker/app.Dockerfile", BAD)
    checkout.write("docker/planted", f"key = '{key()}'\n")
    files = inspect.tracked(checkout.settings, LocalHost())
    assert f"{name}/kept" not in files
    _, of_secrets, of_configuration = inspect.checkout(checkout.settings, LocalHost(), NONE, files)
    assert {one.path for one in of_secrets.findings} == {"docker/planted"}
    assert {one.path for one in of_configuration.findings} == {"docker/app.Dockerfile"}


def test_every_linter_is_told_to_pass_by_settings_of_others() -> None:
    words = {linter.program: " ".join(linter.words) for linter in linters.LINTERS}
    assert {"--no-config", "--no-ignores"} <= {*words["zizmor"].split()}
    assert "--norc" in words["shellcheck"]
    assert linters.SETTINGS.read_text().splitlines()[-1] == "ignored: []"
