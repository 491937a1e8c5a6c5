"""This machine as a host."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from functools import cached_property
from pathlib import Path
from typing import IO

from deploy.core.errors import CommandFailed, Refused
from deploy.core.shell import Command, Result
from deploy.hosts.engine import Engine
from deploy.hosts.host import Host

ANSWER_LIMIT = 1 << 20
EVERYWHERE = "0.0.0.0"  # noqa: S104  # compared with, not bound to
ENGINE = "unix:///var/run/docker.sock"
OF_A_HOOK = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_PREFIX"}


class LocalHost(Host):
    """Runs commands, keeps files and asks HTTP questions on this machine."""

    name = "localhost"

    @cached_property
    def engine(self) -> Engine:
        """This machine's Docker engine."""
        return Engine(self.endpoint)

    @cached_property
    def endpoint(self) -> str:
        """The address of this machine's engine; refuse a client that points elsewhere: `local` means this machine."""
        address = os.environ.get("DOCKER_HOST") or self.context_endpoint()
        if not address.startswith("unix://"):
            raise Refused(
                f"the Docker client points to another machine: {address}",
                where=self.name,
                then="unset DOCKER_HOST; docker context use default",
            )
        return address

    def context_endpoint(self) -> str:
        """Where the Docker client's active context points to."""
        asked = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        try:
            return subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.strip() or ENGINE
        except FileNotFoundError:
            raise Refused("`docker` is not installed", where=self.name, then="./scripts/quickstart") from None

    def environment(self, command: Command) -> dict[str, str]:
        """Return this process's environment with what a command adds; Docker's client is held to this machine's engine.

        What git sets in its hooks is left out: any git below them would read that repository, whatever folder it is told.
        """
        held = {"DOCKER_HOST": self.endpoint} if command.argv[0] == "docker" else {}
        inherited = {name: value for name, value in os.environ.items() if name not in OF_A_HOOK}
        return {**inherited, **held, **command.environment}

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        """Run a command to its end, whatever its exit code.

        Raises Refused when the program is not installed, CommandFailed when it takes longer than `timeout` seconds.
        """
        feed = subprocess.DEVNULL if stdin is None else None
        try:
            done = subprocess.run(
                (*self.guard, *command.argv), input=stdin, stdin=feed, env=self.environment(command), timeout=timeout,
                capture_output=True, text=True,
                errors="backslashreplace",  # a file or a program may hold bytes that are no text
            )  # fmt: skip
        except FileNotFoundError:
            raise Refused(f"`{command.argv[0]}` is not installed", where=self.name, then="inv doctor") from None
        except subprocess.TimeoutExpired:
            raise CommandFailed(str(command), 124, f"no end after {timeout:.0f} s", self.name) from None
        self.heed(done.returncode, done.stderr)
        return Result(done.returncode, done.stdout, done.stderr)

    def watch(self, command: Command, on_line: Callable[[str], None], *, folder: Path) -> tuple[int, str]:
        """Run a command and hand over each line of its stderr as it comes; return exit code and stderr."""
        lines: list[str] = []
        with subprocess.Popen(
            command.argv, cwd=folder, env=self.environment(command),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="backslashreplace",
        ) as process:  # fmt: skip
            for line in process.stderr or ():
                lines.append(line)
                on_line(line)
        return process.returncode, "".join(lines)

    def open(self, command: Command, *, fed: bool = False) -> subprocess.Popen[bytes]:
        """Start a command whose output, both streams as one, is read while it runs."""
        stdin = subprocess.PIPE if fed else subprocess.DEVNULL
        return subprocess.Popen(command.argv, env=self.environment(command), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def stream(self, command: Command, complaints: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a command whose output alone is read while it runs: a warning in it would be taken for a part of it."""
        return subprocess.Popen(
            command.argv, env=self.environment(command), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=complaints
        )

    def follow(self, command: Command) -> int:
        """Run a command with this terminal as its own; return its exit code."""
        return subprocess.run(command.argv, env=self.environment(command)).returncode

    def make_folder(self, folder: Path) -> None:
        """Make a folder that others may enter, whatever the umask: the edge reads its own under another account."""
        for missing in reversed([place for place in (folder, *folder.parents) if not place.exists()]):
            missing.mkdir(exist_ok=True)
            missing.chmod(0o755)

    def write(self, path: Path, text: str, *, mode: int = 0o644) -> None:
        """Write a file so that a reader, or a crash, sees the old text or the new, never half of one."""
        self.make_folder(path.parent)
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
            os.fchmod(file.fileno(), mode)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)

    def append(self, path: Path, line: str) -> None:
        """Add one line to a file and have it on disk before returning; a last line that a crash cut short goes first."""
        self.make_folder(path.parent)
        whole = path.read_bytes().rfind(b"\n") + 1 if path.exists() else 0
        with path.open("a") as file:
            file.truncate(whole)
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self, path: Path) -> str | None:
        """Read a file; None when there is none."""
        return path.read_bytes().decode(errors="backslashreplace") if path.exists() else None  # line ends as they are

    def names(self, folder: Path) -> list[str]:
        """List what a folder holds; nothing when there is none."""
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def remove(self, path: Path) -> None:
        """Remove a file, or a folder with everything in it; one that is not there is fine."""
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def point(self, link: Path, target: str) -> None:
        """Make a symbolic link name another target, in one step."""
        part = link.with_name(f".{link.name}.part")
        part.unlink(missing_ok=True)
        part.symlink_to(target)
        part.rename(link)

    def pointed(self, link: Path) -> str | None:
        """Read what a symbolic link names; None when there is none."""
        return str(link.readlink()) if link.is_symlink() else None

    def free_bytes(self, path: Path) -> int:
        """Tell how many bytes are free where a path is, or will be."""
        return shutil.disk_usage(next(folder for folder in (path, *path.parents) if folder.exists())).free

    def port_is_free(self, address: str, port: int) -> bool:
        """Tell whether nothing listens on a TCP port of this host."""
        with suppress(OSError), socket.create_connection(("127.0.0.1" if address == EVERYWHERE else address, port), 2):
            return False
        return True

    def get(self, port: int, path: str, *, host: str = "localhost", timeout: float = 2) -> tuple[int, str]:
        """Ask this host's own loopback over a new connection; return status and body, 0 when nothing answered."""
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as connection:
            return answer(connection, path, host)


def answer(connection: http.client.HTTPConnection, path: str, host: str) -> tuple[int, str]:
    """Ask over a connection; return status and body, 0 when nothing answered."""
    try:
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        said = connection.getresponse()
        return said.status, said.read(ANSWER_LIMIT).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
