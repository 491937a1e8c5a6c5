"""Where secrets come from: a file, a file that is encrypted with age, or what a command prints."""

from __future__ import annotations

import json
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from deploy.config import text
from deploy.config.secrets import age, envfile
from deploy.config.secrets.mask import masked
from deploy.config.secrets.rules import is_secretive
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import CommandFailed, Refused, refuse
from deploy.core.shell import query
from deploy.hosts.local import LocalHost

RECIPIENTS = "# recipients: "  # the last line of what is encrypted: age itself does not say to whom
COMMAND = "secrets.command"
TIMED_OUT = (124, 137, -9)  # the exit codes of timeout(1)
ASSIGNED = re.compile(r"""([A-Za-z_][\w.-]*)(["']?\s*(?:=|:(?!//))\s*)(\S.*)""")
PASSWORD = re.compile(r"://[^/\s@]*@")
GRACE = 2  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True)
class Source(ABC):
    """Where an environment's secrets are, what messages call that, and how a person changes it."""

    name: str
    where: str
    then: str

    @abstractmethod
    def read(self) -> envfile.Text | None:
        """Return the text of NAME=value; None when there is none. Raise Refused when it cannot be read."""

    @abstractmethod
    def write(self, content: str, host: LocalHost) -> None:
        """Replace the text; raise Refused where only another program can."""

    def require_writable(self) -> None:  # noqa: B027  # a file can be written
        """Raise Refused where only another program can write."""

    def exposed(self) -> list[str]:
        """Report that others can read it; nothing when they cannot."""
        return []

    def text(self, content: str) -> envfile.Text:
        """Return a text of this source."""
        return envfile.Text(content, self.name, self.where, self.then)


@dataclass(frozen=True)
class File(Source):
    """A file, for its owner alone."""

    path: Path

    def read(self) -> envfile.Text | None:
        """Read the file."""
        return self.text(text.read(self.path, self.name, self.where)) if self.path.exists() else None

    def write(self, content: str, host: LocalHost) -> None:
        """Write the file."""
        host.write(self.path.resolve(), content, mode=0o600)  # a link stays one

    def exposed(self) -> list[str]:
        """Report that others can read the file."""
        return exposed(self.path)


@dataclass(frozen=True)
class AgeFile(Source):
    """A file that git keeps, encrypted to several recipients by name."""

    path: Path
    identity: Path
    recipients: Mapping[str, str]

    def read(self) -> envfile.Text | None:
        """Decrypt the file."""
        return self.text(self.decrypted()[0]) if self.path.exists() else None

    def encrypted_to(self) -> dict[str, str]:
        """Return whom the file is encrypted to, by name."""
        return self.decrypted()[1]

    def decrypted(self) -> tuple[str, dict[str, str]]:
        """Return the text, and whom it is encrypted to."""
        identity = age.read_identity(self.identity, exposed(self.identity), self.name)
        whole = age.decrypt(self.path, identity, self.name)
        return divided(whole)

    def require_writable(self) -> None:
        """Refuse recipients that `write` would refuse, before anybody types or revokes a value."""
        self.encrypted("")

    def write(self, content: str, host: LocalHost) -> None:
        """Encrypt the text to all recipients; refuse where this identity could not read it again."""
        ended = content if content.endswith("\n") or not content else f"{content}\n"
        whole = f"{ended}{RECIPIENTS}{json.dumps(dict(self.recipients))}\n"
        host.write_bytes(self.path.resolve(), self.encrypted(whole))

    def encrypted(self, whole: str) -> bytes:
        """Return a text encrypted to all recipients."""
        identity = age.read_identity(self.identity, exposed(self.identity), self.name)
        return age.encrypt(whole, self.recipients, identity)


def divided(whole: str) -> tuple[str, dict[str, str]]:
    """Return a text without its last line, and the recipients in that; all of it, and none, where `age` wrote it."""
    content, mark, last = whole.rpartition(RECIPIENTS)
    with suppress(ValueError):  # it is a comment, or more lines follow
        if mark and content[-1:] in ("", "\n") and isinstance(recipients := json.loads(last), dict):
            return content, recipients
    return whole, {}


@dataclass(frozen=True)
class CommandOutput(Source):
    """What a command prints, as of a vault."""

    argv: tuple[str, ...]
    folder: Path
    within: float

    def read(self) -> envfile.Text | None:
        """Run the command, once for each `inv`."""
        return self.text(output(self.argv, self.folder, self.within))

    def write(self, content: str, host: LocalHost) -> None:  # noqa: ARG002  # nothing is written
        """Refuse: the command only reads."""
        self.require_writable()

    def require_writable(self) -> None:
        """Refuse: the command only reads."""
        what = f"the secrets come from {COMMAND}, which only reads them"
        raise Refused(what, where=self.where, then=f"{self.then}, then inv deploy", slug="secrets-read-only")


def source_of(settings: Settings) -> Source:
    """Return where an environment's secrets come from."""
    own, path = settings.secrets, settings.secrets_file
    if own.command:
        then = f"change them where {COMMAND} reads them"
        return CommandOutput(settings.secrets_name, COMMAND, then, tuple(own.command), settings.root, own.within)
    if path.suffix == ".age":
        then = f"inv secrets.edit changes {path.name}"
        return AgeFile(path.name, str(path), then, path, own.identity_in(settings.root), own.recipients)
    return File(path.name, str(path), f"edit {path.name}", path)


def own(settings: Settings, key: str) -> str:
    """Read a secret that is for the toolkit alone, in clear; empty when it is not set.

    Raises Refused when the source cannot be understood, or others can read it.
    """
    source = source_of(settings)
    found = source.read()
    value = "".join(envfile.values(envfile.entries(found)).get(key, "")) if found else ""
    reasons = source.exposed() if value else ()
    refuse(f"{key} is not ready:", reasons, where=source.where, then=source.then, slug="secrets-not-ready")
    return value


def exposed(path: Path) -> list[str]:
    """Report that others can read a file of secrets; nothing when they cannot."""
    others = path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077
    return [f"{path.name} can be read by others: chmod 600 {path.name}"] if others else []


@cache
def output(argv: tuple[str, ...], folder: Path, within: float) -> str:
    """Return what the command prints; raise Refused when it fails, hangs, or prints nothing."""
    limited = query("timeout", f"--kill-after={GRACE}", str(within), "env", f"--chdir={folder}", *argv)
    then = f"run {COMMAND} by hand; a vault may be sealed, or a login be over"
    try:
        code, out, err = LocalHost().exchange(limited, timeout=within + GRACE + 1)
    except CommandFailed:  # what it left in the background still has its stdout
        code, out, err = TIMED_OUT[0], b"", b""
    printed = without_values(err.decode(errors="replace"), out.decode(errors="replace"))
    what = f"had not ended after {within:g} s" if code in TIMED_OUT else f"ended with {code}"
    if code:
        raise Refused(f"{COMMAND} {what}{printed and ':'}{printed}", where=COMMAND, then=then, slug="secrets-command")
    if printed:
        console.warn(f"{COMMAND}:{printed}")
    try:
        content = text.universal(out.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Refused(f"{COMMAND} prints what is not UTF-8", where=COMMAND, then=then, slug="secrets-command") from None
    if not any(entry.key or entry.error for entry in envfile.parse(content)):
        what = f"{COMMAND} ended well and printed no NAME=value: that is not taken for no secrets"
        raise Refused(what, where=COMMAND, then=then, slug="secrets-command")
    return content


def without_values(err: str, out: str) -> str:
    """Return what a command printed to stderr, indented, without what looks like a secret: of its own or of ours."""
    own = [value for name, value in os.environ.items() if is_secretive(name)]
    printed = [entry.value for content in (out, err) for entry in envfile.parse(content) if entry.key and entry.value]
    # of an output that was cut off in quotes no entry has the value
    rest = [entry.original.string for entry in envfile.parse(out) if entry.error]
    words = [word for text in rest for word in re.split(r"^\s*[\w.-]+=|[\s\"']+", text) if word]
    hidden = masked(err.strip(), [*own, *printed, *words])
    return "".join(f"\n    {without_assigned(line)}" for line in hidden.splitlines()[-15:])


def without_assigned(line: str) -> str:
    """Hide what a line gives to a name: whatever stands after `=`, passwords after `:`, and those of URLs. Pure.

    A shell that traces (`set -x`), JSON and YAML show secrets in these forms.
    """
    line = PASSWORD.sub("://***@", line)
    if not (match := ASSIGNED.search(line)):
        return line
    name, sign, value = match.groups()
    hides = "=" in sign or is_secretive(name) or name.lower() == "authorization"
    return f"{line[: match.start()]}{name}{sign}{'***' if hides else without_assigned(value)}"
