"""Revisions of real git checkouts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.config import checkout
from deploy.core.errors import Refused
from deploy.hosts.local import LocalHost

Change = Callable[[Path], object]


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "a.txt").write_text("one\n")
    (tmp_path / "b.txt").write_text("two\n")
    (tmp_path / ".gitignore").write_text("*.log\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "first", "--date=2026-01-02T03:04:05Z")
    return tmp_path


def revision(folder: Path) -> str:
    return checkout.read(folder, LocalHost()).revision


def test_a_clean_checkout_is_its_commit(repository: Path) -> None:
    (repository / "ignored.log").write_text("x")
    read = checkout.read(repository, LocalHost())
    assert (read.revision, read.dirty) == (git(repository, "rev-parse", "HEAD")[:12], False)
    assert read.time == git(repository, "log", "-1", "--date=format-local:%Y-%m-%dT%H:%M:%SZ", "--format=%cd")


CHANGES: dict[str, Change] = {
    "modified": lambda folder: (folder / "a.txt").write_text("three\n"),
    "modified otherwise": lambda folder: (folder / "a.txt").write_text("four\n"),
    "modified, no text": lambda folder: (folder / "a.txt").write_bytes(b"caf\xe9\n"),
    "modified, no text, otherwise": lambda folder: (folder / "a.txt").write_bytes(b"caf\xe8\n"),
    "deleted": lambda folder: (folder / "b.txt").unlink(),
    "mode": lambda folder: (folder / "b.txt").chmod(0o755),
    "staged": lambda folder: ((folder / "b.txt").write_text("staged\n"), git(folder, "add", ".")),
    "untracked": lambda folder: (folder / "new").write_text("x"),
    "untracked otherwise": lambda folder: (folder / "new").write_text("y"),
    "untracked by another name": lambda folder: (folder / "old").write_text("x"),
    "untracked and executable": lambda folder: (folder / "new").write_text("x") and (folder / "new").chmod(0o755),  # type: ignore[func-returns-value]
    "untracked link to nothing": lambda folder: (folder / "new").symlink_to("nowhere"),
    "untracked link to a folder": lambda folder: (folder / "new").symlink_to("/"),
    "a checkout in the checkout": lambda folder: git(folder, "init", "--quiet", "in"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_makes_a_revision_of_its_own(repository: Path, change: str) -> None:
    clean = revision(repository)
    CHANGES[change](repository)
    assert revision(repository).startswith(f"{clean}-dirty-")
    assert revision(repository) == revision(repository)


def test_no_two_changes_share_a_revision(tmp_path: Path, repository: Path) -> None:
    seen: dict[str, str] = {}
    for name, change in CHANGES.items():
        change(repository)
        found = revision(repository)
        assert found not in seen, (name, seen[found])
        seen[found] = name
        git(repository, "reset", "--hard", "--quiet")
        git(repository, "clean", "-ffdq")


@pytest.mark.parametrize("commits", [0, None], ids=["no commit", "no git"])
def test_without_a_commit_it_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, commits: int | None) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path.parent))
    if commits is not None:
        git(tmp_path, "init", "--quiet")
    with pytest.raises(Refused, match="not a git checkout") as raised:
        checkout.read(tmp_path, LocalHost())
    assert "git" in raised.value.then


def test_a_signature_that_git_shows_is_no_part_of_the_commit(repository: Path) -> None:
    key = repository.parent / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    for name, value in {"gpg.format": "ssh", "user.signingkey": str(key), "log.showSignature": "true"}.items():
        git(repository, "config", name, value)
    git(repository, "commit", "--quiet", "--allow-empty", "-S", "-m", "signed")
    assert "signature" in git(repository, "log", "-1", "--format=%H")
    assert revision(repository) == git(repository, "rev-parse", "HEAD")[:12]


def test_in_a_hook_of_another_repository_it_is_this_one(
    repository: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path_factory.mktemp("other")
    git(other, "init", "--quiet")
    clean = revision(repository)
    for name, value in {
        "GIT_DIR": other / ".git",
        "GIT_INDEX_FILE": other / ".git" / "index",
        "GIT_WORK_TREE": other,
    }.items():
        monkeypatch.setenv(name, str(value))
    assert revision(repository) == clean


def test_what_git_advises_is_passed_on(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own tests have no other account either
    with pytest.raises(Refused, match="dubious ownership") as raised:
        checkout.read(repository, LocalHost())
    assert raised.value.then == f"git config --global --add safe.directory {repository}"


def test_a_broken_repository_is_no_reason_to_make_a_new_one(repository: Path) -> None:
    (repository / ".git" / "config").write_text("[")
    with pytest.raises(Refused, match="bad config") as raised:
        checkout.read(repository, LocalHost())
    assert "git init" not in raised.value.then
