"""Files of a host that only programs can reach, by small POSIX scripts: SFTP knows no sudo, and renames over nothing."""

from __future__ import annotations

import errno
import os
from abc import abstractmethod
from pathlib import Path

from deploy.core.shell import Command, command
from deploy.hosts.host import Host

CAUSES = {os.strerror(number): number for number in errno.errorcode} | {"Directory nonexistent": errno.ENOENT}
WRITE = """set -e
umask 022; mkdir -p -- "$2"
rm -f -- "$3"
umask 077; dd of="$3" conv=excl,fsync bs=64k status=none
chmod -- "$4" "$3"
mv -fT -- "$3" "$1"
"""
APPEND = """set -e
umask 022; mkdir -p -- "$2"
if [ -s "$1" ] && [ "$(tail -c 1 -- "$1" | wc -l)" -eq 0 ]; then
    truncate -s "$(($(wc -c <"$1") - $(tail -n 1 -- "$1" | wc -c)))" -- "$1"
fi
dd of="$1" oflag=append conv=notrunc,fsync bs=64k status=none
"""
NAMES = """[ ! -d "$1" ] || exec find "$1/" -mindepth 1 -maxdepth 1 -printf '%f\\0'"""
POINT = """set -e
rm -f -- "$2"
ln -s -- "$3" "$2"
mv -fT -- "$2" "$1"
"""
POINTED = """[ ! -L "$1" ] || exec readlink -n -- "$1" """
FREE = """for place; do [ ! -e "$place" ] || exec df -B1 --output=avail -- "$place"; done"""


class ShellFiles(Host):
    """Keeps files by what its programs can do; contents go by stdin, names as arguments, so that any value is safe."""

    @abstractmethod
    def exchange(self, wanted: Command, *, stdin: bytes = b"", timeout: float = 600) -> tuple[int, bytes, bytes]:
        """Run a program to its end; return exit code, stdout, stderr."""

    def script(self, text: str, path: Path, *words: str, stdin: bytes = b"") -> bytes:
        """Run a script about a path; return what it printed, raise the OSError that it met."""
        return self.done(path, "sh", "-c", text, "sh", str(path), *words, stdin=stdin)

    def done(self, path: Path, *argv: str, stdin: bytes = b"") -> bytes:
        """Run a program about a path; return what it printed, raise the OSError that it met."""
        code, out, err = self.exchange(command(*argv), stdin=stdin)
        if code:
            said = err.decode(errors="backslashreplace").strip()
            cause = said.rpartition(": ")[2]
            known = CAUSES.get(cause, errno.EIO)
            raise OSError(known, cause if cause in CAUSES else said, f"{self.name}:{path}")
        return out

    def write(self, path: Path, text: str, *, mode: int = 0o644) -> None:
        """Write a file so that a reader, or a crash, sees the old text or the new, never half of one."""
        part = path.with_name(f".{path.name}.part")
        self.script(WRITE, path, str(path.parent), str(part), f"{mode:o}", stdin=text.encode())

    def append(self, path: Path, line: str) -> None:
        """Add one line to a file and have it on disk before returning; a last line that a crash cut short goes first."""
        self.script(APPEND, path, str(path.parent), stdin=f"{line}\n".encode())

    def read(self, path: Path) -> str | None:
        """Read a file; None when there is none."""
        try:
            return self.done(path, "cat", "--", str(path)).decode(errors="backslashreplace")
        except (FileNotFoundError, NotADirectoryError):
            return None

    def names(self, folder: Path) -> list[str]:
        """List what a folder holds; nothing when there is none."""
        return [os.fsdecode(name) for name in self.script(NAMES, folder).split(b"\0") if name]

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with everything in it; one that is not there is fine."""
        self.done(path, "rm", "-rf", "--", str(path))

    def point(self, link: Path, target: str) -> None:
        """Make a symbolic link name another target, in one step."""
        self.script(POINT, link, str(link.with_name(f".{link.name}.part")), target)

    def pointed(self, link: Path) -> str | None:
        """Read what a symbolic link names; None when there is none."""
        return os.fsdecode(self.script(POINTED, link)) or None

    def free_bytes(self, path: Path) -> int:
        """Tell how many bytes are free where a path is, or will be."""
        return int(self.script(FREE, path, *map(str, path.parents)).split()[-1])
