"""Secrets changed by a person in an editor, on a file that nobody else reads, and on no disk where that can be."""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from deploy.config import text
from deploy.config.secrets import envfile
from deploy.config.secrets.rules import EXAMPLE, Documented, stray
from deploy.config.secrets.source import AgeFile, Source, source_of
from deploy.config.secrets.values import absent, documented
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import Refused
from deploy.core.shell import command
from deploy.hosts.local import LocalHost

if TYPE_CHECKING:
    from dotenv.parser import Binding

SHARED = "/dev/shm"  # noqa: S108  # a folder of our own is made in it


def edit(settings: Settings, host: LocalHost) -> None:
    """Open the secrets in $VISUAL or $EDITOR, and write them back, encrypted to all recipients if at all.

    Raises Refused, and leaves the secrets as they are, when the editor fails or leaves what cannot be understood, and
    when somebody else wrote them meanwhile.
    """
    source = source_of(settings)
    source.require_writable()
    before = source.read()
    if before is None:
        raise absent(source, settings)
    with private_folder() as folder:
        after = edited(before, folder / settings.secrets_file.name.removesuffix(".age"), host)
    gone, new = recipients_changed(source)
    if after == before.content and not gone | new:
        console.say(f"{source.name}: nothing changed")
        return
    require_unchanged(source, before, "inv secrets.edit")
    source.write(after, host)
    report(source, changed_keys(before.content, after, documented(settings.root / EXAMPLE)), gone)


def require_unchanged(source: Source, before: envfile.Text, command: str) -> None:
    """Refuse to write over what a rotation, a pull or another edit brought since a command read it."""
    now = source.read()
    if now is None or now.content != before.content:
        then = f"{command} again: it reads what is there now"
        what = f"{source.name} changed while it was edited; what you typed was not written"
        raise Refused(what, where=source.where, then=then, slug="secrets-changed")


def edited(before: envfile.Text, path: Path, host: LocalHost) -> str:
    """Return what a person makes of a text; at a terminal one that cannot be understood is opened again."""
    host.write(path, before.content, mode=0o600)
    while True:
        run_editor(path, host)
        after = text.read(path, before.name)
        try:
            require_some(envfile.entries(envfile.Text(after, before.name, before.where, "inv secrets.edit")), before)
        except Refused as error:
            console.warn(error.what)
            console.confirm("Open it again?", yes=False, unasked="inv secrets.edit again; nothing was changed")
        else:
            return after


def require_some(after: list[Binding], before: envfile.Text) -> None:
    """Refuse a text without a secret in place of one with some: an editor on a full disk leaves that."""
    if envfile.values(envfile.parse(before.content)) and not envfile.values(after):
        what, then = f"the editor left no NAME=value of {before.name}", f"to drop them all: rm {before.where}"
        raise Refused(what, where="EDITOR", then=then, slug="editor-failed")


def run_editor(path: Path, host: LocalHost) -> None:
    """Run the person's editor on a file; raise Refused when it fails."""
    line = (os.environ.get("VISUAL") or os.environ.get("EDITOR") or "").strip() or "vi"
    words = [line]
    try:
        words = shlex.split(line)
        code = host.follow(command(*words, str(path)).as_query())
        what = f"the editor `{words[0]}` ended with {code}" if code else ""
    except OSError as error:
        what = f"the editor `{words[0]}` cannot be run: {error.strerror}"
    except ValueError as error:
        what = f"the editor `{line}` cannot be run: {str(error).lower()}"
    if what:
        then = "inv secrets.edit again, with another EDITOR; nothing was changed"
        raise Refused(what, where="EDITOR", then=then, slug="editor-failed")


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder for its owner alone, in memory where that can be, and remove it with all that is in it."""
    place = next((place for place in (SHARED, os.environ.get("XDG_RUNTIME_DIR", "")) if in_memory(place)), None)
    if not place:
        console.warn("there is no tmpfs here: while you edit, the secrets are in clear on a disk")
    with hangup_as_ctrl_c(), TemporaryDirectory(dir=place, prefix="secrets-") as folder:  # its mode is 0700
        yield Path(folder)


@contextmanager
def hangup_as_ctrl_c() -> Iterator[None]:
    """Have a terminal that closes end this as Ctrl-C does: it would leave the secrets in clear."""
    before = signal.getsignal(signal.SIGHUP)
    if before != signal.SIG_IGN:  # as under nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGHUP, before)


def in_memory(place: str) -> bool:
    """Tell whether a folder is a tmpfs that can be written."""
    try:
        mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return False
    return any(mount[1] == place and mount[2] == "tmpfs" for mount in mounts) and os.access(place, os.W_OK)


def recipients_changed(source: Source) -> tuple[set[str], set[str]]:
    """Name those to whom a file is encrypted and shall be no more, and those who are new; none for what is plain."""
    if not isinstance(source, AgeFile):
        return set(), set()
    was, now = source.encrypted_to(), source.recipients
    gone = {name for name, key in was.items() if key not in now.values()}
    return gone, {name for name, key in now.items() if key not in was.values()}


def changed_keys(before: str, after: str, example: Documented) -> list[str]:
    """Name the keys whose value differs; never what may be the rest of a value."""
    old, new = (envfile.values(envfile.parse(content)) for content in (before, after))
    rest = {*stray(old, example), *stray(new, example)}
    return sorted(key for key in (old.keys() | new.keys()) - rest if old.get(key) != new.get(key))


def report(source: Source, changed: list[str], gone: set[str]) -> None:
    """Say what was written, by the names of keys and people."""
    names = f", encrypted to {', '.join(source.recipients)}" if isinstance(source, AgeFile) else ""
    console.say(f"{source.name}: {', '.join(changed) or 'no key'} changed{names}; inv deploy puts it into service")
    for name in sorted(gone):
        console.warn(
            f"{name} cannot read it any more, but whatever {name} has read, or git still has of it, {name} knows: "
            f"rotate every secret in it (inv secrets.rotate KEY)"
        )
