"""Linters and the build check are judged by what they answer."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.config import checkout as source
from deploy.config.sections import Scan
from deploy.core.errors import Refused
from deploy.hosts.engine import Engine
from deploy.hosts.local import LocalHost
from deploy.images import build
from deploy.security import inspect, linters
from deploy.security.findings import CHECKOUT, Finding, Inspection, Unreadable
from deploy.security.scan import require_file, without_skipped
from tests.support.scanning import SETTINGS


def test_a_linter_without_a_file_to_look_at_is_unknown(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"root": tmp_path})
    inspection = inspect.lint(linters.LINTERS[0], settings, LocalHost(), ["README.md"])
    assert "no file" in inspection.unknown
    assert 'scan.skip = ["dockerfiles"]' in inspection.then


def checked(result: dict[str, Any]) -> dict[str, Any]:
    """What `docker buildx bake --call=check,format=json` answers for one target, by the source of buildx 0.30."""
    built = {"context": "backend", "dockerfile": "../docker/a.Dockerfile"}
    return {"group": {"default": {"targets": ["a"]}}, "target": {"a": {"build": built, "check": result}}}


def test_buildkit_says_null_of_a_clean_dockerfile_and_one_that_it_could_not_check_is_no_pass() -> None:
    assert linters.build_check(checked({"warnings": None, "sources": None})) == []
    failures: list[dict[str, Any]] = [
        {"warnings": None, "buildError": {"message": "no such image"}},
        {"error": "no such image"},
    ]
    for failed in failures:
        with pytest.raises(Unreadable, match=r"could not check docker/a\.Dockerfile: no such image"):
            linters.build_check(checked(failed))
    shapes = [checked({"sources": []}), checked({"warnings": {}}), dict[str, Any](target={"a": {"build": {}}})]
    for strange in shapes:
        with pytest.raises(Unreadable):
            linters.parse("BuildKit", json.dumps(strange), linters.build_check)


BUILDX = """case "$*" in
*--help) echo "%s" ;;
*--print*) echo '{"target": {"a": {"tags": ["app/a"]}}}' ;;
*version) echo github.com/docker/buildx 0.13.1 ;;
*--call=check*)
  case "$BUILDX_BUILDER $*" in default*contexts.python=docker-image://*) cat answer.json ;; *) exit 1 ;; esac
  [ -s answer.json ] || { echo "ERROR: target a: unsupported request frontend.lint" >&2; exit 1; } ;;
*) exit 1 ;;
esac"""


@pytest.mark.parametrize(
    ("options", "answer", "unknown"),
    [
        ("--call", checked({"warnings": None}), ""),
        ("--call", {"target": {}}, "no target"),
        ("--call", {}, "shape"),
        ("--call", "", "BuildKit checked nothing: ERROR: target a: unsupported request frontend.lint"),
        ("--call", checked({"error": "no such image"}), "BuildKit could not check docker/a.Dockerfile: no such image"),
        ("--call", {"target": {"b": checked({"warnings": None})["target"]["a"]}}, "BuildKit says nothing of a"),
        ("--print", {}, "buildx 0.13.1 has no `bake --call=check`"),
    ],
)
def test_the_build_check_is_given_the_base_images_and_passes_only_what_it_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, answer: dict[str, Any] | str, unknown: str
) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{BUILDX % options}\n")
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "answer.json").write_text(answer if isinstance(answer, str) else json.dumps(answer))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(build, "contexts", lambda *_: ["python"])
    monkeypatch.setattr(Engine, "has_image", lambda *_: True)
    monkeypatch.setattr(source, "read", lambda *_: source.Checkout("c", "2026-11-30T00:00:00Z"))
    monkeypatch.setenv("BUILDX_BUILDER", "of the shell")
    settings = SETTINGS.model_copy(update={"root": tmp_path})
    inspection = inspect.build_check(settings, LocalHost())
    assert unknown in inspection.unknown
    assert bool(inspection.unknown) is bool(unknown)
    assert "Unreadable(" not in inspection.unknown, "one reason is no part of another"
    assert unknown or inspection.scope == "1 targets, by BuildKit"


def test_a_report_that_could_not_be_written_is_refused_before_the_scan(tmp_path: Path) -> None:
    assert require_file(f"{tmp_path}/new.sarif") == tmp_path / "new.sarif"
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "none" / "a.sarif", "there is no folder")):
        with pytest.raises(Refused, match=words):
            require_file(str(path))


@pytest.mark.parametrize("path", ["a/Dockerfile.prod", "a/Containerfile", "Containerfile.dev", "b.Dockerfile"])
def test_a_dockerfile_is_one_in_every_folder(path: str) -> None:
    assert linters.LINTERS[0].chooses(path, "")
    assert not linters.LINTERS[0].chooses(f"{path}.dockerignore", "")


def test_a_file_that_cannot_be_read_is_unknown_and_one_that_looks_like_an_option_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    settings = SETTINGS.model_copy(update={"root": tmp_path})
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "-a.sh").write_text("#!/bin/sh\n")
    assert inspect.tracked(settings, LocalHost()) == ["./-a.sh"]
    monkeypatch.setattr(inspect, "first_line", closed)
    inspection = inspect.lint(linters.LINTERS[1], settings, LocalHost(), ["./-a.sh"])
    assert "-a.sh cannot be read: Permission denied" in inspection.unknown


def test_what_gitleaks_and_buildkit_say_is_read() -> None:
    leak = {"RuleID": "r", "Description": "d", "Commit": "c" * 40, "File": "f", "StartLine": 2}
    assert linters.gitleaks([leak])[0].severity == "CRITICAL"
    warned = {"ruleName": "R", "detail": "d", "url": "u", "location": {"ranges": [{"start": {"line": 4}}]}}
    (finding,) = linters.build_check(checked({"warnings": [warned]}))
    assert (finding.path, finding.line) == ("docker/a.Dockerfile", 4)
    for program, read in (("gitleaks", linters.gitleaks), ("BuildKit", linters.build_check)):
        with pytest.raises(Unreadable):
            linters.parse(program, "{}", read)


def test_what_an_app_has_none_of_is_left_out_and_images_never_are() -> None:
    """What is found even so is not."""
    settings = SETTINGS.model_copy(update={"scan": Scan(skip=["locks", "shell"])})
    blind = [
        Inspection("vulnerabilities", CHECKOUT, unknown="no lock"),
        Inspection("shell", CHECKOUT, unknown="no script"),
        Inspection("vulnerabilities", "app", unknown="no database"),
        Inspection("secrets", CHECKOUT, unknown="no file"),
    ]
    left = [(one.kind, one.where) for one in without_skipped(blind, settings)]
    assert left == [("vulnerabilities", "app"), ("secrets", CHECKOUT)]
    bad = Inspection("shell", CHECKOUT, findings=(Finding("shell", "SC1", "HIGH", CHECKOUT, "m"),))
    assert without_skipped([bad], settings) == [bad]
    with pytest.raises(ValidationError):
        Scan.model_validate({"skip": ["vulnerabilities"]})
