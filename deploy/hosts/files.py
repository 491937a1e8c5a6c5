"""Files of a host that only programs can reach, by POSIX scripts: SFTP has no sudo, and cannot rename over a file."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from pathlib import Path

from deploy.core.shell import Command, command, query
from deploy.hosts.host import Host

ARGUMENT = 1 << 14  # characters of a line that may be an argument: input costs another round trip
CAUSES = {os.strerror(number): number for number in errno.errorcode} | {"Directory nonexistent": errno.ENOENT}
# its arguments are paths; of each file come a line with size and mode, then its bytes. What ends early is never put in
# place, and no success
WRITE = """set -e
for path; do
    IFS=' ' read -r size mode
    folder=${path%/*}; part="$folder/.${path##*/}.part"
    umask 022; mkdir -p -- "$folder"
    rm -f -- "$part"
    umask 077; dd of="$part" iflag=fullblock,count_bytes count="$size" conv=excl,fsync bs=64k status=none
    [ "$(wc -c <"$part")" -eq "$size" ]
    chmod -- "$mode" "$part"
    mv -fT -- "$part" "$path"
done
"""
APPEND = """set -e
umask 022; mkdir -p -- "$2"
if [ -s "$1" ] && [ "$(tail -c 1 -- "$1" | wc -l)" -eq 0 ]; then
    truncate -s "$(($(wc -c <"$1") - $(tail -n 1 -- "$1" | wc -c)))" -- "$1"
fi
if [ $# = 3 ]; then printf '%s\\n' "$3"; else cat; fi | dd of="$1" oflag=append conv=notrunc,fsync bs=64k status=none
"""
LIST = """[ ! -d "$1" ] || exec find "$1/" -mindepth 1 -maxdepth 1 -printf '%f\\0'"""
SYMLINK = """set -e
rm -f -- "$2"
ln -s -- "$3" "$2"
mv -fT -- "$2" "$1"
"""
READLINK = """[ ! -L "$1" ] || exec readlink -n -- "$1" """
FREE = """for place; do [ ! -e "$place" ] || exec df -B1 --output=avail -- "$place"; done"""


class ShellFiles(Host):
    """Keeps files by what its programs can do; contents go by stdin, names and short lines as arguments.

    Any value is safe so.
    """

    def script(self, text: str, path: Path, *words: str) -> Command:
        """Make a command of a script about a path."""
        return command("sh", "-c", text, "sh", str(path), *words)

    def done(self, path: Path, act: Command, *, stdin: bytes = b"") -> bytes:
        """Run a command about a path; return what it printed, raise the OSError that it met."""
        code, out, err = self.exchange(act, stdin=stdin)
        if code:
            stderr = err.decode(errors="backslashreplace").strip()
            cause = stderr.rpartition(": ")[2]
            raise OSError(CAUSES.get(cause, errno.EIO), cause if cause in CAUSES else stderr, f"{self.name}:{path}")
        return out

    def write_all(self, files: Mapping[Path, tuple[str, int]]) -> None:
        """Write texts with their modes as `write_bytes` does, one after the other, by one program."""
        with self.changing():
            self._write_each({path: (text.encode(), mode) for path, (text, mode) in files.items()})

    def _write(self, path: Path, data: bytes, mode: int) -> None:
        self._write_each({path: (data, mode)})

    def _write_each(self, files: Mapping[Path, tuple[bytes, int]]) -> None:
        framed = b"".join(b"%d %o\n%b" % (len(data), mode, data) for data, mode in files.values())
        self.done(next(iter(files)), command("sh", "-c", WRITE, "sh", *map(str, files)), stdin=framed)

    def _append(self, path: Path, line: str) -> None:
        if len(line) < ARGUMENT:
            self.done(path, self.script(APPEND, path, str(path.parent), line))
        else:
            self.done(path, self.script(APPEND, path, str(path.parent)), stdin=f"{line}\n".encode())

    def _remove(self, path: Path) -> None:
        self.done(path, command("rm", "-rf", "--", str(path)))

    def _symlink(self, link: Path, target: str) -> None:
        self.done(link, self.script(SYMLINK, link, str(link.with_name(f".{link.name}.part")), target))

    def read_bytes(self, path: Path) -> bytes | None:
        """Read a file; None when there is none."""
        try:
            return self.done(path, query("cat", "--", str(path)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def listdir(self, folder: Path) -> list[str]:
        """List what a folder holds; nothing when there is none."""
        printed = self.done(folder, self.script(LIST, folder).as_query())
        return [os.fsdecode(name) for name in printed.split(b"\0") if name]

    def readlink(self, link: Path) -> str | None:
        """Read what a symbolic link names; None when there is none."""
        return os.fsdecode(self.done(link, self.script(READLINK, link).as_query())) or None

    def free_bytes(self, path: Path) -> int:
        """Tell how many bytes are free where a path is, or will be."""
        return int(self.done(path, self.script(FREE, path, *map(str, path.parents)).as_query()).split()[-1])
