"""One environment's folder on one host, and how a file of it is read that may be gone, damaged or too new."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from deploy.core import console
from deploy.core.errors import Refused
from deploy.core.model import Kept
from deploy.core.shell import command
from deploy.hosts.host import Host
from deploy.state import kept

K = TypeVar("K", bound=Kept)
WARNED: set[tuple[str, str]] = set()  # host and text of what this process has warned of: records are read many times
# the folder itself, or the nearest above it that is there
MAY_WRITE = 'folder=$1; until test -e "$folder"; do folder=$(dirname "$folder"); done; test -w "$folder"'


def now() -> str:
    """Return the time as everything here writes it: ISO 8601, UTC, to the second."""
    return moment(datetime.now(UTC))


def moment(time: datetime) -> str:
    """Write a time down."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime:
    """Read a time; one without a zone is UTC. Raises ValueError for a text that is none."""
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def require_folder(folder: Path, host: Host) -> None:
    """Refuse a host where the account that we are may not write the state folder."""
    if host.try_run(command("sh", "-c", MAY_WRITE, "sh", str(folder)), timeout=20).returncode == 1:
        then = f"at {host.name}, as root: install -d -o THE_ACCOUNT {folder}; or ssh.sudo = true"
        raise Refused(
            f"{folder} cannot be written by this account", where=host.name, then=then, slug="state-not-writable"
        )


@dataclass(frozen=True)
class Folder:
    """The state folder of one environment on one host."""

    host: Host
    folder: Path

    def value(self, kind: type[K], name: str, then: str = "restore that file") -> K | None:
        """Read one kept value; None when there is none, Refused where it cannot be read."""
        text = self.readable(self.folder / name, then)
        return None if text is None else kept.parse(kind, text, self.folder / name, then)

    def replaced(self, kind: type[K], path: Path) -> K | None:
        """Return the value that is about to be written over; None for none, or a damaged one.

        Refuse one that is too new.
        """
        try:
            text = self.readable(path, "")
            return kept.parse(kind, text, path) if text else None
        except Refused as error:
            if error.slug == kept.TOO_NEW:
                raise
            return None

    def readable(self, path: Path, then: str) -> str | None:
        """Read a file; None when there is none, Refused when that is not possible."""
        try:
            return self.host.read(path)
        except OSError as error:
            raise Refused(
                f"{path.name} cannot be read: {error.strerror or error}",
                where=str(path),
                then=then,
                slug="record-unreadable",
            ) from None

    def tolerated(self, name: str, then: str) -> str | None:
        """Read a record; empty when there is none. One that cannot be read at all is a warning, and None."""
        try:
            return self.host.read(self.folder / name) or ""
        except OSError as error:
            self.warn(f"{self.folder / name} cannot be read: {error.strerror or error}; {then}")
            return None

    def warn(self, text: str) -> None:
        """Warn of a record of this host, once in a process."""
        if (self.host.name, text) not in WARNED:
            WARNED.add((self.host.name, text))
            console.warn(text)
