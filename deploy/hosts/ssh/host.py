"""A machine over SSH as a host: one connection for everything."""

from __future__ import annotations

import http.client
import json
import os
import re
import shlex
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, nullcontext, suppress
from contextvars import copy_context
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from paramiko import Channel
from paramiko.ssh_exception import SSHException

from deploy.core.errors import CommandFailed, OpsError, Refused
from deploy.core.shell import Command, Secret, command, query
from deploy.hosts.engine import Engine
from deploy.hosts.files import ShellFiles
from deploy.hosts.local import EVERYWHERE, answer
from deploy.hosts.sections import Server, Ssh
from deploy.hosts.ssh.answers import FETCH, Answers, unpacked
from deploy.hosts.ssh.link import Link
from deploy.hosts.ssh.program import AS_ONE, WATCHED, Program, whole
from deploy.hosts.ssh.sessions import GRACE, SESSIONS, WINDOW, Sessions
from deploy.hosts.ssh.terminal import feed, pass_on, raw, size
from deploy.hosts.stream import Stream

T = TypeVar("T")
AT_ONCE = 6  # questions that are asked at once: other sessions stay free
INSPECT = """ids=$(docker ps --all --quiet --no-trunc --filter "label=$1") || exit
[ -n "$ids" ] || exec echo []
exec docker inspect --type=container $ids
"""
NAMES = "docker network ls --format '{{.Name}}' && exec docker volume ls --quiet"
MISSING = re.compile(
    r"(?:timeout: failed to run command|env:) '(.+)': No such file or directory|.*(sudo): (?:command )?not found"
)
GONE = re.compile(r"(?i)(.*no such (?:object|container)\b.*\n?)+")
UNRESOLVED = re.compile(r"(?m)\A(sudo: unable to resolve host .*\n)+")  # sudo goes on all the same


class SshHost(ShellFiles):
    """Runs commands, keeps files and asks HTTP questions on a machine over SSH; many threads may use it at once."""

    followable = SESSIONS - 3  # besides them the engine is asked, and a command runs
    answers: Answers | None = None  # while a command only looks

    def __init__(self, name: str, machine: Server, ssh: Ssh, env: str, gateway: Link | None = None) -> None:
        self.name, self.machine, self.sudo = name, machine, ssh.sudo
        self.link = Link(name, machine, ssh, env, gateway)
        self.sessions = Sessions(self.link)

    @cached_property
    def engine(self) -> Engine:
        """The host's Docker engine, asked over the same connection."""
        starts = f"on {self.name}: systemctl start docker; may {self.link.user} use it (group docker, or ssh.sudo)?"
        return Engine(self.name, self.dial, starts, self.list_containers, self.list_resources)

    @contextmanager
    def remembering(self) -> Iterator[None]:
        """Ask each question once while this lasts."""
        self.answers = Answers()
        try:
            yield
        finally:
            self.answers = None

    def once(self, question: Hashable, ask: Callable[[], T]) -> T:
        """Ask, unless the answer is kept."""
        return self.answers.get(question, ask) if self.answers else ask()

    def fetch(self, folder: Path, patterns: Iterable[str]) -> None:
        """Read files and links of a folder by one program, for whoever asks for them while this looks."""
        if self.answers:
            _, out, err = self.exchange(query("sh", "-c", FETCH, "sh", str(folder), *patterns))
            for kind, name, content in unpacked(out, err.decode(errors="backslashreplace")):
                self.answers.put((kind, folder / name), content)

    def connect_ahead(self) -> None:
        """Begin to connect in a thread of its own; whoever needs the connection gets the error."""
        with suppress(OpsError):
            self.unlock()
            threading.Thread(target=self.sessions.prepare, daemon=True).start()

    def read_bytes(self, path: Path) -> bytes | None:
        """Read a file; None when there is none."""
        return self.once(("read", path), partial(super().read_bytes, path))

    def readlink(self, link: Path) -> str | None:
        """Read what a symbolic link names; None when there is none."""
        return self.once(("readlink", link), partial(super().readlink, link))

    def list_containers(self, label: str) -> list[dict[str, Any]]:
        """Describe every container with a label by one program; a question for each is a round trip for each."""
        return self.once(("containers", label), partial(self.inspect_each, label))

    def list_resources(self) -> list[str]:
        """Name all networks and volumes by one program."""
        done = self.once("names", lambda: self.try_run(query("sh", "-c", NAMES)))
        if done.returncode:
            raise OSError(done.output)
        return done.stdout.split()

    def inspect_each(self, label: str) -> list[dict[str, Any]]:
        """Describe every container with a label, as they are now."""
        done = self.try_run(query("sh", "-c", INSPECT, "sh", label))
        # containers may be gone meanwhile; any other error is the engine's
        if done.returncode and not GONE.fullmatch(UNRESOLVED.sub("", done.stderr)):
            raise OSError(done.output)
        try:
            return list(json.loads(done.stdout))
        except ValueError:
            raise OSError(done.output or "its answer is no document") from None

    def dial(self) -> Channel:
        """Open a channel to the engine.

        Raise Refused where sudo asks for a password, which the engine's silence would not tell.
        """
        if self.sudo:
            self.try_run(query("true"))
        return self.start(self.line(command("docker", "system", "dial-stdio")))

    def unlock(self) -> None:
        """Read the login key; raise Refused when it cannot be read."""
        self.link.credentials()

    def close(self) -> None:
        """End the connection; its use fails until it is renewed."""
        self.link.close()

    def renew(self) -> bool:
        """Forget a connection that has ended, the gateway's too, so that the next use makes another.

        Tell whether there was one.
        """
        return self.link.renew() | bool(self.link.gateway and self.link.gateway.renew())

    def concurrently(self, *questions: Callable[[], T]) -> list[T]:
        """Call functions at once, each over a session of its own; raise what failed once all have ended."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = [pool.submit(copy_context().run, question) for question in questions]
        return [one.result() for one in asked]

    def command_line(self, line: str) -> str:
        """Return what a person types here to run a line there."""
        hop = self.link.gateway
        jump = f"-J {shlex.quote(f'{hop.user}@{bracketed(hop.machine.address)}:{hop.machine.port}')} " if hop else ""
        port = f"-p {self.machine.port} " if self.machine.port != 22 else ""
        key = f"-i {shlex.quote(str(self.link.ssh.key_file))} " if self.link.ssh.key_file else ""
        pinned = f"-o {shlex.quote(f'KnownHostsCommand=/bin/echo %H {self.machine.key}')} " if self.machine.key else ""
        return (
            f"ssh {key}{pinned}{jump}{port}{self.link.user}@{self.machine.address} {'sudo ' if self.sudo else ''}{line}"
        )

    def line(self, act: Command, *before: str) -> str:
        """Write a command for the host's login shell, in plain C locale.

        The shell does not `exec` it, so that a program which was killed has an exit code.
        """
        root = ("env", "LC_ALL=C", "sudo", "-n", "--") if self.sudo else ()
        if secret := [name for name, value in act.environment.items() if isinstance(value, Secret)]:
            raise TypeError(f"{', '.join(secret)}: a secret would stand on a command line there; pass it by stdin")
        added = (f"{name}={value}" for name, value in act.environment.items())
        return shlex.join([*root, "env", "LC_ALL=C", *added, *before, *act.argv]) + "; exit $?"

    def start(
        self, line: str, prepare: Callable[[Channel], object] | None = None, window: int | None = None
    ) -> Channel:
        """Start a line on the host; wait while it runs as many programs as it allows."""
        try:
            with self.link.lasting() as transport:
                channel = self.sessions.get(transport, window)
                if prepare:
                    prepare(channel)
                channel.exec_command(line)
                return channel
        except SSHException as error:
            then = (
                f"MaxSessions in its sshd_config: {SESSIONS} at least; does its sshd let {self.link.user} run commands?"
            )
            raise Refused(
                f"{self.name} starts no program: {error}", where=self.link.where, then=then, slug="too-many-sessions"
            ) from None

    def _exchange(
        self, act: Command, guard: tuple[str, ...], *, stdin: bytes | None, timeout: float
    ) -> tuple[int, bytes, bytes]:  # fmt: skip
        began = time.monotonic()  # over there `timeout` ends it, also when we are gone
        late = CommandFailed(str(act), 124, f"no end after {timeout:.0f} s", self.name)
        with closing(
            self.start(self.line(act, *guard, "timeout", "-k", "5", f"{timeout:f}"), window=WINDOW)
        ) as channel:
            channel.settimeout(timeout + GRACE)
            try:
                with suppress(OSError):  # it may end before it has read everything
                    channel.sendall(stdin or b"")
                    channel.shutdown_write()
                out, err = whole(channel.recv), whole(channel.recv_stderr)
                code = Program(self.link, channel, stdin_open=False).wait(GRACE)
            except TimeoutError:
                raise late from None
        if code in (124, 137) and time.monotonic() - began >= timeout:
            raise late
        self.refuse(code, UNRESOLVED.sub("", err.decode(errors="replace")))
        return code, out, err

    def refuse(self, code: int, stderr: str) -> None:
        """Raise Refused when the program is not there, or sudo did not run it."""
        if code == 127 and (missing := MISSING.match(stderr)):
            raise Refused(
                f"`{missing[1] or missing[2]}` is not installed",
                where=self.name,
                then=f"inv hosts.check --env={self.link.env}",
                slug="program-missing",
            )
        if self.sudo and code == 1 and stderr.startswith("sudo: "):
            then = f"put `{self.link.user} ALL=(ALL) NOPASSWD: ALL` into /etc/sudoers.d/{self.link.user} there"
            raise Refused(
                f"sudo asks {self.link.user} for a password: {stderr.strip()}",
                where=self.name,
                then=then,
                slug="sudo-refused",
            )

    def _open(
        self, command: Command, guard: tuple[str, ...], *, stdin_open: bool, stderr_apart: bool = False
    ) -> Program:
        as_one = () if stderr_apart else ("sh", "-c", AS_ONE, "sh")
        watched = () if stdin_open else ("sh", "-c", WATCHED, "sh")
        group = "timeout", "-k", "5", "0"  # for its process group; 0 is no limit
        line = self.line(command, *as_one, *guard, *watched, *group)
        channel = self.start(line, lambda opened: opened.set_combine_stderr(not stderr_apart))
        return Program(self.link, channel, stdin_open=stdin_open, stderr_apart=stderr_apart)

    def _follow(self, command: Command, guard: tuple[str, ...]) -> int:
        def prepare(channel: Channel) -> None:
            if terminal:
                channel.get_pty(os.environ.get("TERM", "vt100"), *size())

        terminal = os.isatty(0) and os.isatty(1)
        channel = self.start(self.line(command, *guard), prepare)
        with closing(channel), raw() if terminal else nullcontext():
            enough = threading.Event()
            works = (lambda: feed(channel, terminal), lambda: pass_on(channel.recv_stderr, 2, enough, channel))
            others = [threading.Thread(target=work, daemon=True) for work in works]
            for other in others:
                other.start()
            pass_on(channel.recv, 1, enough, channel)
            code = Program(self.link, channel, stdin_open=False).wait()
        for other in others:
            other.join()
        return 0 if enough.is_set() else code

    def port_is_free(self, address: str, port: int) -> bool:
        """Tell whether nothing listens on a TCP port of this host."""
        if channel := self.link.tunnel("127.0.0.1" if address == EVERYWHERE else address, port, 2):
            channel.close()
        return not channel

    def connect(self, address: str, port: int, within: float) -> Stream:
        """Open a connection to an address of the environment, through the gateway where there is one."""
        if not self.link.gateway:
            return super().connect(address, port, within)
        if channel := self.link.gateway.tunnel(address, port, within):
            channel.settimeout(within)
            return channel
        raise ConnectionRefusedError("the gateway does not reach it")

    def get(self, port: int, path: str, *, host: str = "localhost", timeout: float = 2) -> tuple[int, str]:
        """Ask the host's own loopback over a new connection; return status and body, 0 when nothing answered."""
        return self.once(("get", port, path, host), partial(self.get_now, port, path, host, timeout))

    def get_now(self, port: int, path: str, host: str, timeout: float) -> tuple[int, str]:
        """Ask the host's own loopback as `get` does, whatever answer is kept."""
        channel = self.link.tunnel("127.0.0.1", port, timeout)
        if not channel:
            return 0, f"nothing listens on port {port} of {self.name}"
        with closing(channel):
            channel.settimeout(timeout)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            # it closes a socket when the answer begins, as sockets may be; a channel would be gone
            connection.sock = cast(
                Any, SimpleNamespace(makefile=channel.makefile, sendall=channel.sendall, close=lambda: None)
            )
            return answer(connection, path, host)


def bracketed(address: str) -> str:
    """Write an address so that a port may follow it. Pure."""
    return f"[{address}]" if ":" in address else address
