"""A machine over SSH as a host: one connection for everything. The only importer of fabric and paramiko."""

from __future__ import annotations

import http.client
import logging
import os
import re
import shlex
import socket
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext, suppress
from errno import ECONNRESET
from functools import cache, cached_property
from pathlib import Path
from select import select
from types import SimpleNamespace, TracebackType
from typing import IO, Any, cast

import fabric  # type: ignore[import-untyped]  # it has no types
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko import Channel, Message, PKey, RejectPolicy, SSHConfig, Transport
from paramiko.common import (
    MSG_CHANNEL_CLOSE,
    MSG_CHANNEL_OPEN_SUCCESS,
    MSG_CHANNEL_REQUEST,
    MSG_CHANNEL_WINDOW_ADJUST,
    cMSG_GLOBAL_REQUEST,
)
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey
from paramiko.packet import Packetizer
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import AuthenticationException, BadHostKeyException, ChannelException, SSHException

from deploy.errors import CommandFailed, OpsError, Refused, Unreachable
from deploy.hosts.engine import Engine
from deploy.hosts.files import ShellFiles
from deploy.hosts.local import EVERYWHERE, answer
from deploy.settings import Machine, Server, Settings
from deploy.shell import Command, Result, command

SESSIONS = 8  # at once over one connection; sshd allows ten (MaxSessions)
SILENCE = 3  # keepalives without a word from the other side, and the connection is given up
GRACE = 15  # seconds that a program may take beyond its time: 5 until it is killed, the rest to tell us
WINDOW = 1 << 31  # bytes that may come before they are read; nothing then waits for anything
BUFFER = 1 << 16
PROHIBITED = 1  # https://www.rfc-editor.org/rfc/rfc4254#section-5.1
PASSPHRASE = "SSH_KEY_PASSPHRASE"  # noqa: S105  # the name of the variable
GATEWAY = "gateway"  # its name, which no other machine may have
MISSING = re.compile(r"(?:timeout: failed to run command|env:) '(.+)': No such file or directory|.*(sudo): (?:command )?not found")
UNRESOLVED = re.compile(r"(?m)\A(sudo: unable to resolve host .*\n)+")  # sudo goes on all the same
# sshd tells a program without a terminal nothing when we are gone: its input, which ends then, is watched in its place.
# The group that `timeout` makes is signalled: while it starts a program it passes nothing on.
WATCHED = """exec 3<&0
"$@" </dev/null 3<&- & program=$!
{ while read -r _ <&3; do :; done; until kill -TERM "-$program" || ! kill -0 "$program"; do sleep 0.1; done; } >/dev/null 2>&1 & watcher=$!
exec 3<&- 2>/dev/null
wait "$program"; code=$?
kill "$watcher"
exit "$code"
"""
# https://www.rfc-editor.org/rfc/rfc4254#section-5: what names a channel, up to its close
ON_CHANNEL = range(MSG_CHANNEL_WINDOW_ADJUST, MSG_CHANNEL_REQUEST + 1)

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # what fails is told by our own errors


class Listening(Packetizer):
    """Knows when the other side last said anything, and says nothing on a channel once it has closed it.

    paramiko writes a message under a lock and sends it without: the answer to a program's end may come in between, and
    sshd ends the whole connection over what comes after that.
    """

    heard = 0.0

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self.order, self.closed_there = threading.Lock(), set[bytes]()

    def send_message(self, data: Message) -> None:
        """Send a message, unless its channel is closed; raise ConnectionResetError when the connection broke.

        paramiko says EOFError, which nobody expects of writing, nor of a reader, who asks for more by it and learns the rest by reading on.
        """
        kind, channel = data.asbytes()[0], data.asbytes()[1:5]
        with self.order:
            if kind in ON_CHANNEL and channel in self.closed_there:
                return
            if kind == MSG_CHANNEL_CLOSE:
                self.closed_there.add(channel)
            try:
                super().send_message(data)
            except EOFError:
                if kind != MSG_CHANNEL_WINDOW_ADJUST:
                    raise ConnectionResetError(ECONNRESET, "the connection broke") from None  # its own thread wants the number

    def read_message(self) -> tuple[int, Message]:
        """Read what the other side says next."""
        kind, message = super().read_message()
        self.heard = time.monotonic()
        if kind == MSG_CHANNEL_OPEN_SUCCESS:  # with our number and theirs, which is used again
            self.closed_there.discard(message.asbytes()[4:8])
        return kind, message


class Watched(Transport):
    """A transport that ends when the other side is silent; paramiko's own keepalive asks for no answer, and for none while we send."""

    packetizer: Listening

    def __init__(self, sock: Any, **more: Any) -> None:
        super().__init__(sock, packetizer_class=Listening, **more)
        if isinstance(sock, socket.socket):  # else a short message waits 40 ms for the one before to be acknowledged
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        options = self.get_security_options()
        options.ciphers = sorted(options.ciphers, key=lambda name: "gcm" not in name)  # half as fast again as those with a MAC

    def watch(self, every: float) -> None:
        """Ask for signs of life, and look for them in a thread of its own: writing may hang."""
        for work in (self.ask, self.end_when_silent):
            threading.Thread(target=work, args=(every,), daemon=True).start()

    def ask(self, every: float) -> None:
        """Send, again and again, a request that the other side must at least refuse."""
        message = Message()
        message.add_byte(cMSG_GLOBAL_REQUEST)
        message.add_string("keepalive@openssh.com")
        message.add_boolean(True)
        with suppress(SSHException, OSError, EOFError):
            while self.is_active():
                self._send_user_message(message)  # type: ignore[attr-defined]  # global_request() would wait for the answer
                time.sleep(every)

    def end_when_silent(self, every: float) -> None:
        """Close the transport once nothing was heard for too long; everybody who waits on it hears of that."""
        while self.is_active():
            time.sleep(min(1, every))
            if time.monotonic() - self.packetizer.heard > SILENCE * every:
                self.close()


class Link:
    """A connection to one machine, made when it is first needed and never twice; only the pinned host key is accepted."""

    def __init__(self, name: str, machine: Machine, settings: Settings, gateway: Link | None = None) -> None:
        self.name, self.machine, self.ssh, self.gateway, self.env = name, machine, settings.ssh, gateway, settings.env
        self.user = machine.user or settings.ssh.user
        self.where = f"{name} ({self.user}@{machine.address}:{machine.port})"
        self.opening, self.connecting, self.ended = threading.Lock(), threading.Lock(), False
        self.connection: Any = None

    @property
    def transport(self) -> Watched:
        """The connection that everything goes over; raise Unreachable once it broke or was closed."""
        with self.connecting:
            if not (self.connection or self.ended):
                self.connection = self.connected()
        if self.ended or not self.connection.is_connected:
            raise self.broken()
        return cast(Watched, self.connection.transport)

    def broken(self) -> Unreachable:
        """Say that the connection broke."""
        return Unreachable(
            f"the connection to {self.name} broke",
            where=self.where,
            serves="what served before; what runs there goes on",
            then=f"inv hosts.check --env={self.env}; inv status, then inv resume",
        )

    def connected(self) -> Any:
        """Connect; raise Refused that says what is in the way."""
        made = fabric.Connection(
            self.machine.address, user=self.user, port=self.machine.port, gateway=False,
            config=fabric.Config(lazy=True, ssh_config=SSHConfig()),  # neither ~/.ssh/config nor ~/.fabric.yaml
            connect_kwargs={**self.credentials(), **self.limits(), "transport_factory": Watched},
        )  # fmt: skip
        made.client.set_missing_host_key_policy(RejectPolicy())
        pinned = self.pinned()
        made.client.get_host_keys().add(self.known_as, pinned.get_name(), pinned)
        try:
            made.connect_kwargs["sock"] = self.hop()
            made.open()
        except (SSHException, OSError, EOFError) as error:
            made.client.close()
            raise self.refusal(error) from None
        made.transport.watch(self.ssh.keepalive)
        return made

    def hop(self) -> Channel | None:
        """Open the way through the gateway, where there is one; raise ConnectionRefusedError when it leads nowhere."""
        if not self.gateway:
            return None
        if found := self.gateway.tunnel(self.machine.address, self.machine.port, self.ssh.connect_within):
            return found
        raise ConnectionRefusedError(
            f"the gateway {self.gateway.machine.address} does not reach {self.machine.address}:{self.machine.port}"
        )

    @property
    def known_as(self) -> str:
        """The name that host keys are kept under."""
        return self.machine.address if self.machine.port == 22 else f"[{self.machine.address}]:{self.machine.port}"

    def pinned(self) -> PKey:
        """Return the one host key that is accepted."""
        then = f"inv hosts.pin --env={self.env}"
        if not self.machine.key:
            raise Refused(f"{self.name} has no pinned host key, and no other is accepted", where=self.where, then=then)
        return public_key(self.machine.key, self.where, then)

    def limits(self) -> dict[str, float]:
        """How long each part of connecting may take, in seconds."""
        return dict.fromkeys(("timeout", "banner_timeout", "auth_timeout", "channel_timeout"), self.ssh.connect_within)

    def credentials(self) -> dict[str, Any]:
        """Show who we are: by the key file that is set, or else the agent and ~/.ssh/id_*."""
        if self.ssh.key_file:
            return {"pkey": private_key(self.ssh.key_file), "allow_agent": False, "look_for_keys": False}
        return {"passphrase": os.environ.get(PASSPHRASE)}

    def refusal(self, error: Exception) -> Refused:
        """Say what is in the way of a connection, and what to try."""
        place, then = f"{self.machine.address}:{self.machine.port}", "is the machine up, the address right, the firewall open?"
        what = f"no SSH connection to {self.name}: {error or type(error).__name__}"
        match error:
            case BadHostKeyException():
                what = (
                    f"the host key of {self.name} has changed: somebody may be in between, or the host was made anew\n"
                    f"    pinned:  {error.expected_key.fingerprint}\n    offered: {error.key.fingerprint}"
                )
                compare = f"at the host: ssh-keygen -lf {host_key_file(error.key.get_name())}"
                then = f"{compare}; only if that is the offered one, inv hosts.pin --env={self.env}"
            case AuthenticationException():
                tried = self.ssh.key_file or "the agent and ~/.ssh/id_*"
                what = f"{self.name} did not let {self.user} in: {error} (tried: {tried})"
                then = f"ssh-copy-id -p {self.machine.port} {self.user}@{self.machine.address}; another ssh.user or ssh.key_file; ssh-add"
            case socket.gaierror():
                what, then = f"the name {self.machine.address} of {self.name} does not resolve: {error.strerror}", "mend its address"
            case TimeoutError():
                what = f"{self.name} did not answer at {place} within {self.ssh.connect_within:g} s"
        return Refused(what, where=self.where, then=then)

    @contextmanager
    def lasting(self) -> Iterator[Watched]:
        """Give the transport; what fails because the connection broke is told as that."""
        transport = self.transport
        try:
            yield transport
        except (SSHException, OSError, EOFError) as error:
            if transport.is_active() and not isinstance(
                error, (EOFError, ConnectionResetError)
            ):  # these come before it is known to be over
                raise
            raise self.broken() from None

    def tunnel(self, address: str, port: int, timeout: float) -> Channel | None:
        """Open a way to a port that the machine reaches; None when nothing listens, Refused when sshd allows none."""
        try:
            with self.lasting() as transport, self.opening:  # paramiko keeps one failure at a time
                return transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout)
        except SSHException as error:
            if isinstance(error, ChannelException) and error.code == PROHIBITED:
                then = "AllowTcpForwarding local in its sshd_config (and PermitOpen), then systemctl reload ssh"
                raise Refused(f"{self.name} allows no forwarding to {address}:{port}", where=self.where, then=then) from None
            return None

    def offered(self) -> str:
        """Return the host key that the machine shows to anybody; nobody logs in."""
        try:
            sock: Any = self.hop() or socket.create_connection((self.machine.address, self.machine.port), self.ssh.connect_within)
            with closing(Transport(sock)) as transport:
                transport.banner_timeout = self.ssh.connect_within
                transport.start_client(timeout=self.ssh.connect_within)
                key = transport.get_remote_server_key()
        except (SSHException, OSError, EOFError) as error:
            raise self.refusal(error) from None
        return f"{key.get_name()} {key.get_base64()}"

    def close(self) -> None:
        """End the connection; whoever wants it hears that it broke, until it is renewed."""
        self.ended = True
        if self.connection:
            self.connection.close()

    def renew(self) -> bool:
        """Forget a connection that has ended, so that the next use makes another; tell whether there was one."""
        with self.connecting:
            made = self.connection
            over = self.ended or bool(made and not made.is_connected)
            if over:
                self.connection, self.ended = None, False
        if over and made:
            made.close()  # it may have been made while it was ended
        return over


def public_key(text: str, where: str, then: str) -> PKey:
    """Read a public key as sshd has it in its .pub file."""
    with suppress(SSHException, ValueError, InvalidHostKey):
        if entry := HostKeyEntry.from_line(f"x {text}"):
            return entry.key
    raise Refused(f"this is no public host key: {text}", where=where, then=then)


def host_key_file(kind: str) -> str:
    """Return the file in which a host has its public key of a kind, as in `ssh-rsa` or `ecdsa-sha2-nistp256`. Pure."""
    return f"/etc/ssh/ssh_host_{kind.removeprefix('ssh-').partition('-')[0]}_key.pub"


def fingerprint(key: str) -> str:
    """Return a public key's fingerprint as ssh-keygen prints it."""
    return public_key(key, "host key", "inv hosts.pin").fingerprint


@cache
def private_key(path: Path) -> PKey:
    """Read the key that shows who we are; raise Refused when others can read it too, or it cannot be had.

    A person is asked for its passphrase once, whatever the number of hosts.
    """
    with suppress(RuntimeError):  # nobody of that name has a home: it is told as a file that is not there
        path = path.expanduser()
    try:
        if path.stat().st_mode & 0o077:
            raise Refused("others than you can read this private key", where=str(path), then=f"chmod 600 {shlex.quote(str(path))}")
        try:
            return PKey.from_path(path)
        except TypeError:  # it has a passphrase
            return PKey.from_path(path, passphrase(path).encode())  # type: ignore[arg-type]  # the stub says str, the library takes bytes
    except OSError as error:
        raise Refused(f"the key file cannot be read: {error.strerror}", where=str(path), then="mend ssh.key_file") from None
    except (UnknownKeyType, UnsupportedAlgorithm):
        then = f"leave ssh.key_file out and ssh-add {shlex.quote(str(path))}; or a key of those kinds"
        raise Refused("a key file is RSA, ECDSA or Ed25519; the agent takes others too", where=str(path), then=then) from None
    except (ValueError, SSHException) as error:
        then = f"mend ssh.key_file, or {PASSPHRASE}"
        raise Refused(f"no private key, or another passphrase: {error}", where=str(path), then=then) from None


def passphrase(path: Path) -> str:
    """Take a key's passphrase from the environment, or ask for it."""
    from getpass import getpass

    if (known := os.environ.get(PASSPHRASE)) is not None:
        return known
    if not sys.stdin.isatty():
        then = f"set {PASSPHRASE}; or leave ssh.key_file out and ssh-add the key"
        raise Refused("the key has a passphrase, and nobody can be asked here", where=str(path), then=then)
    return getpass(f"Passphrase of {path}: ")


class Program:
    """A program that runs over there, as `Process` has it."""

    def __init__(self, link: Link, channel: Channel, *, fed: bool) -> None:
        self.link, self.channel, self.returncode = link, channel, cast("int | None", None)
        self.stdin = cast(IO[bytes], channel.makefile_stdin("wb", 0)) if fed else None
        self.stdout = cast("IO[bytes] | None", channel.makefile("rb", BUFFER))

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; raise TimeoutError, or OpsError when the connection broke."""
        if not self.channel.status_event.wait(timeout):
            raise TimeoutError(f"no end within {timeout} s")
        if self.channel.exit_status < 0 and not self.channel.get_transport().is_active():
            raise self.link.broken()
        self.returncode = self.channel.exit_status
        return self.returncode

    def terminate(self) -> None:
        """End its input: one that is not fed is ended by that."""
        if not self.channel.closed:
            self.channel.shutdown_write()

    def __enter__(self) -> Program:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End it, do away with what nobody read, and wait; when another error is on its way, nothing is said of one here."""
        with closing(self.channel), suppress(*(OSError, OpsError) if error else ()):
            self.terminate()
            whole(self.channel.recv)
            self.wait()


class SshHost(ShellFiles):
    """Runs commands, keeps files and asks HTTP questions on a machine over SSH; many threads may use it at once."""

    followed = SESSIONS - 3  # beside them the engine is asked, and a command runs

    def __init__(self, name: str, machine: Server, settings: Settings, gateway: Link | None = None) -> None:
        self.name, self.machine, self.sudo = name, machine, settings.ssh.sudo
        self.link = Link(name, machine, settings, gateway)
        self.sessions: list[Channel] = []

    @cached_property
    def engine(self) -> Engine:
        """The host's Docker engine, asked over the same connection."""
        starts = f"on {self.name}: systemctl start docker; may {self.link.user} use it (group docker, or ssh.sudo)?"
        return Engine(self.name, self.dial, starts)

    def dial(self) -> Channel:
        """Open a channel to the engine; raise Refused where sudo asks for a password, which the engine's silence would not tell."""
        if self.sudo:
            self.try_run(command("true"))
        return self.start(self.line(command("docker", "system", "dial-stdio"), guarded=False))

    def unlock(self) -> None:
        """Read the key that shows who we are; raise Refused when it cannot be had."""
        self.link.credentials()

    def close(self) -> None:
        """End the connection; whatever wants it fails until it is renewed."""
        self.link.close()

    def renew(self) -> bool:
        """Forget a connection that has ended, the gateway's too, so that the next use makes another; tell whether there was one."""
        return self.link.renew() | bool(self.link.gateway and self.link.gateway.renew())

    def typed(self, line: str) -> str:
        """Return what a person types here to run a line there."""
        hop = self.link.gateway
        jump = f"-J {shlex.quote(f'{hop.user}@{bracketed(hop.machine.address)}:{hop.machine.port}')} " if hop else ""
        port = f"-p {self.machine.port} " if self.machine.port != 22 else ""
        return f"ssh {jump}{port}{self.link.user}@{self.machine.address} {'sudo ' if self.sudo else ''}{line}"

    def line(self, wanted: Command, *before: str, guarded: bool = True) -> str:
        """Write a command for the login shell over there, in plain C locale; the shell stays, to tell of a killed program.

        What only looks and lasts is not `guarded`: whoever takes the lock next would wait for its end.
        """
        guard = self.guard if guarded else ()
        root = ("env", "LC_ALL=C", "sudo", "-n", "--") if self.sudo else ()
        added = (f"{name}={value}" for name, value in wanted.environment.items())
        return shlex.join([*root, "env", "LC_ALL=C", *added, *guard, *before, *wanted.argv]) + "; exit $?"

    def start(self, line: str, prepare: Callable[[Channel], object] | None = None, window: int | None = None) -> Channel:
        """Start a line over there; wait while as many programs run as the other side allows."""
        try:
            with self.link.lasting() as transport:
                channel = self.session(transport, window)
                if prepare:
                    prepare(channel)
                channel.exec_command(line)
                return channel
        except SSHException as error:
            then = f"MaxSessions in its sshd_config: {SESSIONS} at least; and does its sshd let {self.link.user} run commands?"
            raise Refused(f"{self.name} starts no program: {error}", where=self.link.where, then=then) from None

    def session(self, transport: Transport, window: int | None) -> Channel:
        """Open a session once there are fewer than the other side allows; raise Refused when none of them ends."""
        patience = SILENCE * self.link.ssh.keepalive + GRACE  # a connection that is dead is noticed before
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            with self.link.opening:
                self.sessions = [channel for channel in self.sessions if not channel.closed]
                if len(self.sessions) < SESSIONS:
                    self.sessions.append(transport.open_session(window_size=window, timeout=patience))
                    return self.sessions[-1]
            time.sleep(0.01)
        then = "fewer services for inv logs --follow, for example"
        raise Refused(f"{SESSIONS} programs run over the connection to {self.name}, and none has ended", where=self.link.where, then=then)

    def exchange(self, wanted: Command, *, stdin: bytes = b"", timeout: float = 600) -> tuple[int, bytes, bytes]:
        """Run a program to its end; over there `timeout` ends it, also when we are gone."""
        began = time.monotonic()
        late = CommandFailed(str(wanted), 124, f"no end after {timeout:.0f} s", self.name)
        with closing(self.start(self.line(wanted, "timeout", "-k", "5", f"{timeout:f}"), window=WINDOW)) as channel:
            channel.settimeout(timeout + GRACE)
            try:
                with suppress(OSError):  # it may end before it has read everything
                    channel.sendall(stdin)
                    channel.shutdown_write()
                out, err = whole(channel.recv), whole(channel.recv_stderr)
                code = Program(self.link, channel, fed=False).wait(GRACE)
            except TimeoutError:
                raise late from None
        if code in (124, 137) and time.monotonic() - began >= timeout:
            raise late
        said = UNRESOLVED.sub("", err.decode(errors="replace"))
        self.heed(code, said)
        self.refuse(code, said)
        return code, out, err

    def refuse(self, code: int, said: str) -> None:
        """Raise Refused when the program is not there, or sudo did not run it."""
        if code == 127 and (missing := MISSING.match(said)):
            raise Refused(f"`{missing[1] or missing[2]}` is not installed", where=self.name, then=f"inv hosts.check --env={self.link.env}")
        if self.sudo and code == 1 and said.startswith("sudo: "):
            then = f"put `{self.link.user} ALL=(ALL) NOPASSWD: ALL` into /etc/sudoers.d/{self.link.user} there"
            raise Refused(f"sudo asks {self.link.user} for a password: {said.strip()}", where=self.name, then=then)

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        """Run a command to its end, whatever its exit code.

        Raises Refused when the program is not installed, CommandFailed when it takes longer than `timeout` seconds.
        """
        code, out, err = self.exchange(command, stdin=(stdin or "").encode(), timeout=timeout)
        return Result(code, plain(out), plain(err))

    def open(self, command: Command, *, fed: bool = False) -> Program:
        """Start a command whose output, both streams as one, is read while it runs; it ends when we do."""
        watched = () if fed else ("sh", "-c", WATCHED, "sh")
        line = self.line(command, *watched, "timeout", "-k", "5", "0")  # for its process group; 0 is no limit
        return Program(self.link, self.start(line, lambda channel: channel.set_combine_stderr(True)), fed=fed)

    def follow(self, command: Command) -> int:
        """Run a command with this terminal, or this standard input, as its own; return its exit code."""
        terminal = os.isatty(0) and os.isatty(1)
        channel = self.start(self.line(command), lambda made: made.get_pty(os.environ.get("TERM", "vt100"), *size()) if terminal else None)
        with closing(channel), raw() if terminal else nullcontext():
            enough = threading.Event()
            works = (lambda: feed(channel, terminal), lambda: pass_on(channel.recv_stderr, 2, enough, channel))
            others = [threading.Thread(target=work, daemon=True) for work in works]
            for other in others:
                other.start()
            pass_on(channel.recv, 1, enough, channel)
            code = Program(self.link, channel, fed=False).wait()
        for other in others:
            other.join()
        return 0 if enough.is_set() else code

    def port_is_free(self, address: str, port: int) -> bool:
        """Tell whether nothing listens on a TCP port of this host."""
        if found := self.link.tunnel("127.0.0.1" if address == EVERYWHERE else address, port, 2):
            found.close()
        return not found

    def get(self, port: int, path: str, *, host: str = "localhost", timeout: float = 2) -> tuple[int, str]:
        """Ask the host's own loopback over a new connection; return status and body, 0 when nothing answered."""
        channel = self.link.tunnel("127.0.0.1", port, timeout)
        if not channel:
            return 0, f"nothing listens on port {port} of {self.name}"
        with closing(channel):
            channel.settimeout(timeout)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            # it closes a socket when the answer begins, as sockets may be; a channel would be gone
            connection.sock = cast(Any, SimpleNamespace(makefile=channel.makefile, sendall=channel.sendall, close=lambda: None))
            return answer(connection, path, host)


def bracketed(address: str) -> str:
    """Write an address so that a port may follow it. Pure."""
    return f"[{address}]" if ":" in address else address


def whole(receive: Callable[[int], bytes]) -> bytes:
    """Receive everything; in large pieces, since what is left in paramiko's buffer is moved for each."""
    return b"".join(iter(lambda: receive(1 << 20), b""))


def plain(printed: bytes) -> str:
    """Read what a program printed as subprocess does, whatever it holds."""
    return printed.decode(errors="backslashreplace").replace("\r\n", "\n").replace("\r", "\n")


def size() -> tuple[int, int]:
    """Return the terminal's columns and lines."""
    return os.get_terminal_size(1)


@contextmanager
def raw() -> Iterator[None]:
    """Hand every key to the program."""
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)


def feed(channel: Channel, terminal: bool) -> None:
    """Pass on what comes to our standard input, and how large our terminal is, until either side ends.

    A signal's handler could not: it may come while this process holds the lock that it would wait for.
    """
    told = size() if terminal else None
    with suppress(OSError):
        while not channel.closed:
            if told and told != (now := size()):
                channel.resize_pty(*now)
                told = now
            if select([0], [], [], 0.1)[0]:
                data = os.read(0, BUFFER)
                if not data:
                    channel.shutdown_write()
                    return
                channel.sendall(data)


def pass_on(receive: Callable[[int], bytes], number: int, enough: threading.Event, channel: Channel) -> None:
    """Write what the program says to one of our own streams; a reader who has seen enough ends it."""
    try:
        while data := receive(BUFFER):
            while data:
                data = data[os.write(number, data) :]
    except BrokenPipeError:
        enough.set()
        channel.close()


def hosts(settings: Settings) -> Mapping[str, SshHost]:
    """Make the hosts of an environment, by name; one connection to the gateway serves them all."""
    gateway = Link(GATEWAY, settings.gateway, settings) if settings.gateway else None
    made = {name: SshHost(name, machine, settings, gateway) for name, machine in sorted(settings.hosts.items())}
    for name, front in settings.fronts.items():
        made[name].front = made[front]
    return made
