"""Everything that a host offers: what changes something, and what only reads.

Each works in the folder that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from deploy.core.shell import command, pipe, query
from deploy.hosts.host import Host


def touch(folder: Path) -> tuple[str, str]:
    return "touch", str(folder / "new")


def opened(host: Host, folder: Path, *, stdin_open: bool) -> None:
    with host.open(command(*touch(folder)), stdin_open=stdin_open) as process:
        assert process.stdout
        assert not process.stdout.read()


def streamed(host: Host, folder: Path, *, stdin_open: bool) -> None:
    with host.stream(command(*touch(folder)), stdin_open=stdin_open):
        pass


def looked(host: Host, folder: Path) -> bytes:
    with host.open(query("cat", str(folder / "file"))) as one, host.stream(query("cat", str(folder / "file"))) as other:
        return (one.stdout.read() if one.stdout else b"") + (other.stdout.read() if other.stdout else b"")


def prepare(folder: Path) -> Path:
    """Make a folder with one file and one link."""
    folder.mkdir()
    (folder / "file").write_text("old\n")
    (folder / "link").symlink_to("file")
    return folder


def contents(folder: Path) -> dict[str, str]:
    """Say what a folder holds."""
    return {path.name: str(path.readlink()) if path.is_symlink() else path.read_text() for path in folder.iterdir()}


CHANGES: Mapping[str, Callable[[Host, Path], object]] = {
    "write": lambda host, folder: host.write(folder / "file", "new\n"),
    "write_bytes": lambda host, folder: host.write_bytes(folder / "new", b"new"),
    "append": lambda host, folder: host.append(folder / "file", "new"),
    "remove": lambda host, folder: host.remove(folder / "file"),
    "remove a folder": lambda host, folder: host.remove(folder),
    "symlink": lambda host, folder: host.symlink(folder / "link", "other"),
    "run": lambda host, folder: host.run(command(*touch(folder))),
    "try_run": lambda host, folder: host.try_run(command(*touch(folder))),
    "exchange": lambda host, folder: host.exchange(command(*touch(folder))),
    "pipe": lambda host, folder: host.run(pipe(query("true"), command(*touch(folder)))),
    "open": lambda host, folder: opened(host, folder, stdin_open=False),
    "open with stdin": lambda host, folder: opened(host, folder, stdin_open=True),
    "stream": lambda host, folder: streamed(host, folder, stdin_open=False),
    "stream with stdin": lambda host, folder: streamed(host, folder, stdin_open=True),
    "watch": lambda host, folder: host.watch(command(*touch(folder)), print),
    "follow": lambda host, folder: host.follow(command(*touch(folder))),
}
READS: Mapping[str, Callable[[Host, Path], object]] = {
    "read": lambda host, folder: host.read(folder / "file"),
    "read_bytes": lambda host, folder: host.read_bytes(folder / "file"),
    "listdir": lambda host, folder: sorted(host.listdir(folder)),
    "readlink": lambda host, folder: host.readlink(folder / "link"),
    "free_bytes": lambda host, folder: host.free_bytes(folder) > 0,
    "free_memory": lambda host, _: host.free_memory() > 0,
    "now": lambda host, _: len(host.now()),
    "run": lambda host, folder: host.run(query("ls", str(folder))),
    "pipe": lambda host, folder: host.run(pipe(query("ls", str(folder)), query("wc", "-l"))),
    "open and stream": looked,
    "get": lambda host, _: host.get(1, "/")[0],
    "port_is_free": lambda host, _: host.port_is_free("127.0.0.1", 1),
}
