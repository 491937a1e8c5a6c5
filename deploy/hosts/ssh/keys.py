"""Keys: those that hosts must show, and the one that shows who we are."""

from __future__ import annotations

import errno
import os
import shlex
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from paramiko import PKey
from paramiko.hostkeys import HostKeyEntry, InvalidHostKey
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import SSHException

from deploy.core.errors import Refused

PASSPHRASE = "SSH_KEY_PASSPHRASE"  # noqa: S105  # the name of the variable
ACCEPTED: dict[Path, str] = {}  # key file -> the passphrase that opened it


def public_key(text: str, where: str, then: str) -> PKey:
    """Read a public key as sshd has it in its .pub file."""
    with suppress(SSHException, ValueError, InvalidHostKey):
        if entry := HostKeyEntry.from_line(f"x {text}"):
            return entry.key
    raise Refused(f"this is no public host key: {text}", where=where, then=then, slug="host-key-invalid")


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
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        require_private(path)
        try:
            return PKey.from_path(path)
        except TypeError:  # it has a passphrase
            given = passphrase(path)
            key = PKey.from_path(path, given.encode())  # type: ignore[arg-type]  # the library takes bytes
            ACCEPTED[path] = given
            return key
    except OSError as error:
        raise Refused(
            f"the key file cannot be read: {error.strerror}",
            where=str(path),
            then="fix ssh.key_file",
            slug="login-key-unusable",
        ) from None
    except (UnknownKeyType, UnsupportedAlgorithm):
        then = f"leave ssh.key_file out and ssh-add {shlex.quote(str(path))}; or a key of those kinds"
        raise Refused(
            "a key file is RSA, ECDSA or Ed25519; the agent takes others too",
            where=str(path),
            then=then,
            slug="login-key-unusable",
        ) from None
    except (ValueError, TypeError, SSHException) as error:
        then = f"fix ssh.key_file, or {PASSPHRASE}"
        raise Refused(
            f"no private key, or another passphrase: {error}", where=str(path), then=then, slug="login-key-unusable"
        ) from None


def public_keys(key_file: Path | None) -> list[str]:
    """Return who we are as lines of authorized_keys; raise Refused where there is no key."""
    if key_file:
        key = private_key(key_file)
        return [f"{key.get_name()} {key.get_base64()}"]
    files = sorted((Path.home() / ".ssh").glob("id_*.pub"))
    keys = [" ".join(file.read_text().split()[:2]) for file in files]
    if not keys:
        raise Refused(
            "there is no public key that the account could let in",
            where="~/.ssh/id_*.pub",
            then="set ssh.key_file, or ssh-keygen -t ed25519",
            slug="login-key-unusable",
        )
    return keys


def is_encrypted(path: Path) -> bool:
    """Tell whether a private key has a passphrase."""
    try:
        PKey.from_path(path.expanduser())
    except TypeError:
        return True
    return False


def require_private(path: Path) -> None:
    """Refuse a private key that others can read, as ssh does."""
    if path.stat().st_mode & 0o077:
        raise Refused(
            "others than you can read this private key",
            where=str(path),
            then=f"chmod 600 {shlex.quote(str(path))}",
            slug="login-key-unusable",
        )


def passphrase(path: Path) -> str:
    """Take a key's passphrase from the environment, or ask for it; one that opened the key is not asked for again."""
    from getpass import getpass

    if path in ACCEPTED:
        return ACCEPTED[path]
    if given := os.environ.get(PASSPHRASE):  # a secret that a CI does not have is empty there
        return given
    if not (sys.stdin and sys.stdin.isatty()):
        then = f"set {PASSPHRASE}; or leave ssh.key_file out and ssh-add the key"
        raise Refused(
            "the key has a passphrase, and nobody can be asked here",
            where=str(path),
            then=then,
            slug="login-key-unusable",
        )
    return getpass(f"Passphrase of {path}: ")
