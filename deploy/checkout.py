"""The git checkout that images are built from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.errors import CommandFailed, Refused
from deploy.hosts.local import LocalHost
from deploy.shell import Command, command


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
    """Look at a checkout; raise Refused outside of git or before the first commit."""
    try:
        commit, time = host.run(git(root, "log", "-1", "--format=%H %ct")).split()
        listed = host.run(git(root, "status", "--porcelain=v1", "--untracked-files=all", "-z"))
        diff = host.run(git(root, "diff", "HEAD", "--binary")) if listed else ""
        untracked = host.run(git(root, "ls-files", "--others", "--exclude-standard", "-z")) if listed else ""
    except CommandFailed as error:
        then = f"git init && git add . && git commit, in {root.name}; or run this in a clone"
        raise Refused(f"this is not a git checkout with a commit:\n{error.output}", where=str(root), then=then) from None
    moment = datetime.fromtimestamp(int(time), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Checkout(commit, moment, fingerprint(root, diff, untracked.split("\0")) if listed else "")


def git(root: Path, *words: str) -> Command:
    """Return a git command on one checkout."""
    return command("git", "-C", str(root), *words)


def fingerprint(root: Path, diff: str, untracked: list[str]) -> str:
    """Hash what differs from the commit."""
    digest = hashlib.sha256(diff.encode())
    for name in untracked:
        if name:
            digest.update(name.encode() + b"\0" + (root / name).read_bytes())
    return digest.hexdigest()
