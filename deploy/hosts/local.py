"""This machine as a host."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryFile
from types import TracebackType
from typing import IO

from deploy.core.errors import CommandFailed, Refused
from deploy.core.shell import Command
from deploy.hosts.engine import Engine
from deploy.hosts.host import Host

ANSWER_LIMIT = 1 << 20
SHOWN = 1 << 16  # bytes of stderr
BLOCK = 1 << 12
EVERYWHERE = "0.0.0.0"  # noqa: S104  # compared with, not bound to
ENGINE = "unix:///var/run/docker.sock"
PLATFORM = "DOCKER_DEFAULT_PLATFORM"
OF_A_HOOK = {
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
}

# all that Docker's client gets of this shell: where things are, who we are to registries, clouds and caches, proxies
GIVEN = re.compile(
    r"(PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TZ|TERM|TMPDIR|XDG_\w+|SSH_AUTH_SOCK|SSL_CERT_\w+|"
    r"DOCKER_((AUTH_)?CONFIG|CERT_PATH|TLS|TLS_VERIFY|API_VERSION)|BUILDX_CONFIG|"
    r"DBUS_SESSION_BUS_ADDRESS|GNUPGHOME|GPG_TTY|WSL_INTEROP|PASSWORD_STORE_\w+|"
    r"(AWS|AZURE|GOOGLE|CLOUDSDK|ACTIONS|GITHUB)_\w+|(IDENTITY|MSI)_(ENDPOINT|HEADER|SECRET)|"
    r"(?i:(https?|all|no)_proxy))"
)


def is_given(name: str) -> bool:
    """Tell whether Docker's client gets a variable of this shell. Pure."""
    return bool(GIVEN.fullmatch(name))


class LocalProcess(subprocess.Popen[bytes]):
    """A program that runs here; what it prints to stderr goes to a file where there is one, else to stdout."""

    terminated = False

    def __init__(
        self, argv: tuple[str, ...], environment: dict[str, str], stdin: int, stderr: IO[bytes] | None
    ) -> None:
        self.file, self.last = stderr, ""
        super().__init__(argv, env=environment, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr or subprocess.STDOUT)

    @property
    def error_output(self) -> str:
        """The end of what it printed to stderr, where that is kept apart; whole once it has ended."""
        if not self.file or self.file.closed:
            return self.last
        size = os.fstat(self.file.fileno()).st_size
        return os.pread(self.file.fileno(), SHOWN, max(0, size - SHOWN)).decode(errors="backslashreplace")

    def terminate(self) -> None:
        """Ask it to end."""
        self.terminated = True
        super().terminate()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:  # fmt: skip
        with suppress(OSError):  # it has ended before it read everything
            if self.stdin:
                self.stdin.close()
        super().__exit__(kind, error, trace)
        if self.file:
            self.last = self.error_output
            self.file.close()


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
                slug="docker-elsewhere",
            )
        return address

    def context_endpoint(self) -> str:
        """Where the Docker client's active context points to."""
        asked = ["docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"]
        try:
            return subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.strip() or ENGINE
        except FileNotFoundError:
            raise Refused(
                "`docker` is not installed", where=self.name, then="./scripts/quickstart", slug="program-missing"
            ) from None

    def environment(self, command: Command) -> dict[str, str]:
        """Return what a command gets of this process's environment, with what it adds.

        Docker's client gets what is listed, and is held to this machine's engine and the builder inside it: one commit
        is one release in whatever shell. What git sets in its hooks is left out: any git below them would read that
        repository, whatever folder it is given.
        """
        inherited = {name: value for name, value in os.environ.items() if name not in OF_A_HOOK}
        if "docker" in command.programs:
            inherited = {name: value for name, value in inherited.items() if is_given(name)}
            inherited |= {"DOCKER_HOST": self.endpoint, "BUILDX_BUILDER": "default"}
        return {**inherited, **command.environment}

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Change a file while the locks are ours; raise Interrupted once one is lost."""
        with ExitStack() as stack:
            if not all(stack.enter_context(guard.entered()) for guard in self.guards):
                raise self.lock_lost()
            yield

    def _exchange(
        self, command: Command, guard: tuple[str, ...], *, stdin: bytes | None, timeout: float
    ) -> tuple[int, bytes, bytes]:  # fmt: skip
        source = subprocess.DEVNULL if stdin is None else None
        try:
            done = subprocess.run(
                (*guard, *command.argv),
                input=stdin,
                stdin=source,
                env=self.environment(command),
                timeout=timeout,
                capture_output=True,
            )
        except FileNotFoundError:
            raise self.not_installed(command) from None
        except subprocess.TimeoutExpired:
            raise CommandFailed(str(command), 124, f"no end after {timeout:.0f} s", self.name) from None
        return done.returncode, done.stdout, done.stderr

    def not_installed(self, command: Command) -> Refused:
        """Say that a program is not there."""
        return Refused(
            f"`{command.argv[0]}` is not installed", where=self.name, then="inv doctor", slug="program-missing"
        )

    def _open(
        self, command: Command, guard: tuple[str, ...], *, stdin_open: bool, stderr_apart: bool = False
    ) -> LocalProcess:
        group = ("timeout", "-k", "5", "0") if stderr_apart else ()  # for its process group, as over SSH; 0 is no limit
        argv, stdin = (*guard, *group, *command.argv), subprocess.PIPE if stdin_open else subprocess.DEVNULL
        try:
            return LocalProcess(argv, self.environment(command), stdin, TemporaryFile() if stderr_apart else None)
        except FileNotFoundError:
            raise self.not_installed(command) from None

    def _follow(self, command: Command, guard: tuple[str, ...]) -> int:
        return subprocess.run((*guard, *command.argv), env=self.environment(command)).returncode

    def make_folder(self, folder: Path) -> None:
        """Make a folder that others may enter, whatever the umask: the edge reads its own under another account."""
        places = takewhile(lambda place: not place.exists(), (folder, *folder.parents))
        for missing in reversed([*places]):
            missing.mkdir(exist_ok=True)
            missing.chmod(0o755)

    def _write(self, path: Path, data: bytes, mode: int) -> None:
        self.make_folder(path.parent)
        part = path.with_name(f".{path.name}.part")
        part.unlink(missing_ok=True)
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)

    def _append(self, path: Path, line: str) -> None:
        self.make_folder(path.parent)
        with path.open("a+b") as file:
            file.truncate(end_of_lines(file))
            file.write(f"{line}\n".encode())
            file.flush()
            os.fsync(file.fileno())

    def _remove(self, path: Path) -> None:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def _symlink(self, link: Path, target: str) -> None:
        part = link.with_name(f".{link.name}.part")
        part.unlink(missing_ok=True)
        part.symlink_to(target)
        part.rename(link)

    def read_bytes(self, path: Path) -> bytes | None:
        """Read a file; None when there is none."""
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None

    def listdir(self, folder: Path) -> list[str]:
        """List what a folder holds; nothing when there is none."""
        return [path.name for path in folder.iterdir()] if folder.is_dir() else []

    def readlink(self, link: Path) -> str | None:
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


def end_of_lines(file: IO[bytes]) -> int:
    """Return where the last whole line of a file ends; no more is read than what stands behind it, by blocks."""
    start = file.seek(0, os.SEEK_END)
    while start:
        end, start = start, max(0, start - BLOCK)
        file.seek(start)
        if newline := file.read(end - start).rfind(b"\n") + 1:
            return start + newline
    return 0


def answer(connection: http.client.HTTPConnection, path: str, host: str) -> tuple[int, str]:
    """Ask over a connection; return status and body, 0 when nothing answered."""
    try:
        connection.request("GET", path, headers={"Host": host, "Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read(ANSWER_LIMIT).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
