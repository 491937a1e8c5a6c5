"""Encryption with age (https://age-encryption.org): pyrage alone, and only here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyrage  # type: ignore[import-untyped]  # it has no types
from pyrage import ssh, x25519

from deploy.config import text
from deploy.core.errors import Refused
from deploy.hosts.local import LocalHost

NATIVE = "AGE-SECRET-KEY-1"


def read_identity(path: Path, exposed: Sequence[str], name: str) -> list[Any]:
    """Read the keys that decrypt: a file of age's own, or an SSH key without a passphrase."""
    if not path.exists():
        what = f"{name} is encrypted, and there is no identity {path}"
        then = "the setting secrets.identity names yours; inv secrets.identity makes one"
        raise Refused(what, where=str(path), then=then, slug="identity-missing")
    if exposed:
        raise Refused("; ".join(exposed), where=str(path), then=f"chmod 600 {path}", slug="identity-invalid")
    content = text.read(path, path.name, str(path))
    try:
        if "PRIVATE KEY" in content:
            return [ssh.Identity.from_buffer(content.encode())]
        if keys := [x25519.Identity.from_str(line) for line in native(content)]:
            return keys
    except pyrage.IdentityError:
        pass
    raise invalid(path)


def invalid(path: Path) -> Refused:
    """Say that a file holds no key."""
    what = f"{path} holds no key that can be used: a line {NATIVE}..., or an SSH key without a passphrase"
    then = "the setting secrets.identity names another; inv secrets.identity makes one there"
    return Refused(what, where=str(path), then=then, slug="identity-invalid")


def native(content: str) -> list[str]:
    """Return the lines of a file that are age's own keys."""
    return [line.strip() for line in content.splitlines() if line.startswith(NATIVE)]


def make_identity(path: Path, host: LocalHost) -> str:
    """Make an identity where there is none; return its public key, which others encrypt to.

    Raises Refused where what is there is no key.
    """
    if not path.exists():
        host.write(path, f"{x25519.Identity.generate()}\n", mode=0o600)
    content = text.read(path, path.name, str(path))
    if "PRIVATE KEY" in content:
        return f"(what {path}.pub holds)"
    try:
        return str(x25519.Identity.from_str(native(content)[0]).to_public())
    except (IndexError, pyrage.IdentityError):
        raise invalid(path) from None


def encrypt(content: str, recipients: Mapping[str, str], identity: Sequence[Any]) -> bytes:
    """Encrypt a text to all recipients, as lines; refuse where this identity could not read it again."""
    keys = [recipient(name, key) for name, key in recipients.items()]
    encrypted: bytes = pyrage.encrypt(content.encode(), keys, armored=True)
    try:
        pyrage.decrypt(encrypted, identity)
    except pyrage.DecryptError:
        what = "your own key is not among [secrets.recipients]: you could not read what you write"
        then = "inv secrets.identity shows your public key; add it"
        raise Refused(what, where="secrets.recipients", then=then, slug="recipients-invalid") from None
    return encrypted


def recipient(name: str, key: str) -> Any:
    """Read a public key of age's or of SSH's."""
    try:
        return ssh.Recipient.from_str(key) if key.startswith("ssh-") else x25519.Recipient.from_str(key)
    except pyrage.RecipientError as error:
        what, then = f"{name} is no public key of age or SSH: {error}", "write age1... or ssh-ed25519 AAAA..."
        where = f"secrets.recipients.{name}"
        raise Refused(what, where=where, then=then, slug="recipients-invalid") from None


def decrypt(path: Path, identity: Sequence[Any], name: str) -> str:
    """Decrypt a file; raise Refused when it is for others, or damaged."""
    then, slug = f"a whole one is in git: git log -- {name}", "secrets-damaged"
    try:
        return text.universal(pyrage.decrypt(path.read_bytes(), identity).decode("utf-8-sig"))
    except OSError as error:
        what = f"{name} cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        what = f"{name} holds what is not UTF-8"
    except pyrage.DecryptError as error:
        what = f"{name} is damaged: {error}"
        if b"<<<<<<< " in path.read_bytes():
            what = f"{name} has the marks of a merge conflict, and nothing can merge what is encrypted"
            then = f"git checkout --theirs -- {name} (or --ours), then inv secrets.edit for what the other side changed"
        if "No matching keys" in str(error):
            what, slug = f"{name} is encrypted to others: your identity does not open it", "secrets-for-others"
            then = "send the key of inv secrets.identity to somebody who can read it, to add under [secrets.recipients]"
    raise Refused(what, where=str(path), then=then, slug=slug)
