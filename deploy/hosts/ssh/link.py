"""The one connection to a machine: how it is made, why it is not, what goes through it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from copy import copy
from pathlib import Path
from typing import Any, cast

import fabric  # type: ignore[import-untyped]  # it has no types
from paramiko import Channel, PKey, RejectPolicy, SSHConfig, Transport
from paramiko.ssh_exception import (
    AuthenticationException,
    BadHostKeyException,
    ChannelException,
    NoValidConnectionsError,
    SSHException,
)

from deploy.core.errors import OpsError, Refused, Unreachable, acting
from deploy.hosts.sections import Machine, Ssh, is_reserved
from deploy.hosts.ssh.keys import PASSPHRASE, host_key_file, private_key, public_key, require_private
from deploy.hosts.ssh.transport import Watched

PROHIBITED = 1  # https://www.rfc-editor.org/rfc/rfc4254#section-5.1
OWN_KINDS = ("ed25519", "ecdsa", "rsa")  # of the keys in ~/.ssh that paramiko looks for
GATEWAY = "gateway"  # its name, which no other machine may have


class Link:
    """A connection to one machine, made when it is first needed and never twice.

    Only the pinned host key is accepted.
    """

    def __init__(self, name: str, machine: Machine, ssh: Ssh, env: str, gateway: Link | None = None) -> None:
        self.name, self.machine, self.ssh, self.gateway, self.env = name, machine, ssh, gateway, env
        self.user = machine.user or ssh.user
        self.where = f"{name} ({self.user}@{machine.address}:{machine.port})"
        self.opening, self.connecting, self.ended = threading.Lock(), threading.Lock(), False
        self.connection: Any = None
        self.failure: OpsError | None = None

    @property
    def transport(self) -> Watched:
        """The connection that everything goes over; raise Unreachable once it broke or was closed."""
        with self.connecting:
            if self.failure:
                raise copy(self.failure)
            if not (self.connection or self.ended):
                try:
                    self.connection = self.connected()
                except OpsError as error:
                    self.failure = error  # the next use need not wait for the same failure again
                    raise
        if self.ended or not self.connection.is_connected:
            raise self.broken()
        return cast(Watched, self.connection.transport)

    def broken(self) -> Unreachable:
        """Say that the connection broke."""
        return Unreachable(
            f"the connection to {self.name} broke",
            where=self.where,
            serves="what served before; what runs there goes on",
            then=acting("inv hosts.check; inv status, then inv resume", self.env),
        )

    def connected(self) -> Any:
        """Connect; raise Refused that says what is in the way."""
        self.require_real()
        connection = fabric.Connection(
            self.machine.address, user=self.user, port=self.machine.port, gateway=False,
            config=fabric.Config(lazy=True, ssh_config=SSHConfig()),  # neither ~/.ssh/config nor ~/.fabric.yaml
            connect_kwargs={**self.credentials(), **self.limits(), "transport_factory": Watched},
        )  # fmt: skip
        connection.client.set_missing_host_key_policy(RejectPolicy())
        pinned = self.pinned()
        connection.client.get_host_keys().add(self.host_key_name, pinned.get_name(), pinned)
        try:
            connection.connect_kwargs["sock"] = self.hop()
            connection.open()
        except (SSHException, OSError, EOFError) as error:
            connection.client.close()
            raise self.refusal(error) from None
        connection.transport.watch(self.ssh.keepalive)
        return connection

    def require_real(self) -> None:
        """Refuse an address of documents: the example of an environment was not filled in."""
        if is_reserved(self.machine.address):
            section = self.name if self.name == GATEWAY else f"hosts.{self.name}"
            file = f"deploy/environments/{self.env}.toml"
            raise Refused(
                f"{self.name} still has the example's address {self.machine.address}, which no machine has",
                where=self.where,
                then=f"fill in {section}.address in {file}, then inv hosts.pin --env={self.env}",
                slug="host-address-reserved",
            )

    def hop(self) -> Channel | None:
        """Open the way through the gateway, where there is one; raise ConnectionRefusedError when it leads nowhere."""
        if not self.gateway:
            return None
        if channel := self.gateway.tunnel(self.machine.address, self.machine.port, self.ssh.connect_within):
            return channel
        raise ConnectionRefusedError(
            f"the gateway {self.gateway.machine.address} does not reach {self.machine.address}:{self.machine.port}"
        )

    @property
    def host_key_name(self) -> str:
        """The name that host keys are kept under."""
        return self.machine.address if self.machine.port == 22 else f"[{self.machine.address}]:{self.machine.port}"

    def pinned(self) -> PKey:
        """Return the one host key that is accepted."""
        then = f"inv hosts.pin --env={self.env}"
        if not self.machine.key:
            raise Refused(
                f"{self.name} has no pinned host key, and no other is accepted",
                where=self.where,
                then=then,
                slug="no-host-key",
            )
        return public_key(self.machine.key, self.where, then)

    def limits(self) -> dict[str, float]:
        """How long each part of connecting may take, in seconds."""
        return dict.fromkeys(("timeout", "banner_timeout", "auth_timeout", "channel_timeout"), self.ssh.connect_within)

    def credentials(self) -> dict[str, Any]:
        """Show who we are: by the key file that is set, or else the agent and ~/.ssh/id_*."""
        if self.ssh.key_file:
            return {"pkey": private_key(self.ssh.key_file), "allow_agent": False, "look_for_keys": False}
        for kind in OWN_KINDS:
            with suppress(OSError, RuntimeError):  # none of that kind, none that this account can see, or no home
                require_private(Path.home() / ".ssh" / f"id_{kind}")
        return {"passphrase": os.environ.get(PASSPHRASE) or None}

    def refusal(self, error: Exception) -> Refused:
        """Say what is in the way of a connection, and what to try."""
        place, slug = f"{self.machine.address}:{self.machine.port}", "host-unreachable"
        then = "is the machine up, the address right, the firewall open?"
        what = f"no SSH connection to {self.name}: {error or type(error).__name__}"
        match error:
            case BadHostKeyException():
                slug, reason = "host-key-changed", "possible man-in-the-middle, or the host was reinstalled"
                what = (
                    f"the host key of {self.name} has changed: {reason}\n"
                    f"    pinned:  {error.expected_key.fingerprint}\n    offered: {error.key.fingerprint}"
                )
                compare = f"at the host: ssh-keygen -lf {host_key_file(error.key.get_name())}"
                then = f"{compare}; only if that is the offered one, inv hosts.pin --env={self.env}"
            case SSHException() if isinstance(error, AuthenticationException) or "authentication methods" in str(error):
                slug, tried = "login-refused", self.ssh.key_file or "the agent and ~/.ssh/id_*"
                what = f"{self.name} did not let {self.user} in: {error} (tried: {tried})"
                copy_id = f"ssh-copy-id -p {self.machine.port} {self.user}@{self.machine.address}"
                then = f"{copy_id}; another ssh.user or ssh.key_file; ssh-add"
            case SSHException() if "checkints" in str(error) or "Invalid key" in str(error):
                slug, what = "login-key-unusable", f"a key in ~/.ssh has another passphrase: {error}"
                then = f"fix {PASSPHRASE}; or ssh-add the key"
            case socket.gaierror():
                what, then = (
                    f"the name {self.machine.address} of {self.name} does not resolve: {error.strerror}",
                    "fix its address",
                )
            case NoValidConnectionsError() | ConnectionRefusedError() if not self.gateway:
                what = f"nothing listens at {place} of {self.name}"
            case EOFError() | SSHException() if (
                not str(error) or "banner" in str(error) or "existing session" in str(error)
            ):
                what = (
                    f"{place} takes a connection of {self.name} and says nothing: the machine hangs, or it is no sshd"
                )
            case TimeoutError():
                what = f"{self.name} did not answer at {place} within {self.ssh.connect_within:g} s"
        return Refused(what, where=self.where, then=then, slug=slug)

    @contextmanager
    def lasting(self) -> Iterator[Watched]:
        """Give the transport; raise Unreachable where something fails because the connection broke."""
        transport = self.transport
        try:
            yield transport
        except (SSHException, OSError, EOFError) as error:
            if transport.is_active() and not isinstance(
                error, (EOFError, ConnectionResetError)
            ):  # these come before it is known to be over
                raise
            transport.close()  # it may not have noticed yet, and `renew` looks at that
            raise self.broken() from None

    def tunnel(self, address: str, port: int, timeout: float) -> Channel | None:
        """Open a way to a port that the machine reaches; None when nothing listens, Refused when sshd allows none."""
        try:
            with self.lasting() as transport, self.opening:  # paramiko keeps one failure at a time
                return transport.open_channel("direct-tcpip", (address, port), ("127.0.0.1", 0), timeout=timeout)
        except SSHException as error:
            if isinstance(error, ChannelException) and error.code == PROHIBITED:
                then = "AllowTcpForwarding local in its sshd_config (and PermitOpen), then systemctl reload ssh"
                raise Refused(
                    f"{self.name} allows no forwarding to {address}:{port}",
                    where=self.where,
                    then=then,
                    slug="forwarding-refused",
                ) from None
            return None

    def offered(self) -> str:
        """Return the host key that the machine offers, without logging in."""
        self.require_real()
        try:
            sock: Any = self.hop() or socket.create_connection(
                (self.machine.address, self.machine.port), self.ssh.connect_within
            )
            with closing(Transport(sock)) as transport:
                transport.banner_timeout = self.ssh.connect_within
                options, kind = transport.get_security_options(), self.machine.key.partition(" ")[0]
                options.key_types = sorted(options.key_types, key=lambda known: not signs(known, kind))
                transport.start_client(timeout=self.ssh.connect_within)
                key = transport.get_remote_server_key()
        except (SSHException, OSError, EOFError) as error:
            raise self.refusal(error) from None
        return f"{key.get_name()} {key.get_base64()}"

    def close(self) -> None:
        """End the connection; its use raises Unreachable until it is renewed."""
        self.ended = True
        if self.connection:
            self.connection.close()

    def renew(self) -> bool:
        """Forget a connection that has ended, so that the next use makes another; tell whether there was one."""
        with self.connecting:
            made = self.connection
            over = self.ended or bool(made and not made.is_connected)
            self.failure = None
            if over:
                self.connection, self.ended = None, False
        if over and made:
            made.close()  # it may have been made while it was ended
        return over


def signs(algorithm: str, kind: str) -> bool:
    """Tell whether a signature is made with a kind of key; RSA keys have several (RFC 8332). Pure."""
    return algorithm == kind or (kind == "ssh-rsa" and algorithm.startswith("rsa-sha2-"))
