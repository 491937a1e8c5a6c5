"""The git checkout that images are built from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.core.errors import CommandFailed, Refused
from deploy.core.shell import Command, command
from deploy.hosts.local import LocalHost

NO_COMMIT = ("not a git repository", "does not have any commits yet")


@dataclass(frozen=True)
class Checkout:
    """A commit, its time (ISO 8601, UTC), and whether files differ from it."""

    commit: str
    time: str
    changes: str = ""

    @property
    def dirty(self) -> bool:
        """Tell whether the files are not those of the commit."""
        return bool(self.changes)

    @property
    def revision(self) -> str:
        """The commit, or an id of its own for a dirty checkout: commit-dirty-hash of the changes."""
        return self.commit[:12] + (f"-dirty-{self.changes[:6]}" if self.dirty else "")


def read(root: Path, host: LocalHost) -> Checkout:
    """Read the state of a checkout; raise Refused outside of git or before the first commit."""
    try:
        commit, time = host.run(git(root, "log", "-1", "--format=%H %ct")).split()
        listed = host.run(git(root, "status", "--porcelain=v1", "--untracked-files=all", "-z"))
        diff = host.run(git(root, "diff", "HEAD", "--binary")) if listed else ""
        untracked = host.run(git(root, "ls-files", "--others", "--exclude-standard", "-z")) if listed else ""
    except CommandFailed as error:
        raise unread(root, error.output) from None
    moment = datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Checkout(commit, moment, fingerprint(root, diff, untracked.split("\0")) if listed else "")


def unread(root: Path, output: str) -> Refused:
    """Make an error of why git cannot read a checkout, with git's own advice where it has one (`safe.directory`)."""
    if any(words in output for words in NO_COMMIT):
        then = f"git init && git add . && git commit, in {root.name}; or run this in a clone"
        return Refused(
            f"this is not a git checkout with a commit:\n{output}",
            where=str(root),
            then=then,
            slug="checkout-unreadable",
        )
    advice = [line.strip() for line in output.splitlines() if line.strip().startswith("git ")]
    then = "; ".join(advice) or "git status, until it says no more of it"
    return Refused(f"git cannot read this checkout:\n{output}", where=str(root), then=then, slug="checkout-unreadable")


def git(root: Path, *words: str) -> Command:
    """Return a git command on one checkout, in English and without what the person's configuration adds to a log."""
    return command("git", "-C", str(root), "-c", "log.showSignature=false", *words, LC_ALL="C")


def fingerprint(root: Path, diff: str, untracked: list[str]) -> str:
    """Hash what differs from the commit."""
    digest = hashlib.sha256(diff.encode())
    for name in filter(None, untracked):
        digest.update(f"{name}\0{content(root / name)}\0".encode())
    return digest.hexdigest()


def content(path: Path) -> str:
    """Describe an untracked path: a link's target, or a file's mode and the hash of its bytes; of a folder no more."""
    if path.is_symlink():
        return f"link {path.readlink()}"
    if not path.is_file():
        return "folder"
    return f"{path.stat().st_mode} {hashlib.sha256(path.read_bytes()).hexdigest()}"
