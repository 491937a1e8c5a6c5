"""What a host remembers: journal, ledger, bundles, the schema. Plain files, one line or one rename at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from deploy.errors import OpsError, Refused
from deploy.hosts.host import Host
from deploy.model import Record, Release, Scale, Schema
from deploy.shell import command

T = TypeVar("T", bound=BaseModel)


def now() -> str:
    """Return the time as everything here writes it: ISO 8601, UTC, to the second."""
    return moment(datetime.now(UTC))


def moment(time: datetime) -> str:
    """Write a time down."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


# the folder itself, or the nearest above it that is there
MAY_WRITE = 'folder=$1; until test -e "$folder"; do folder=$(dirname "$folder"); done; test -w "$folder"'


def require_folder(folder: Path, host: Host) -> None:
    """Refuse a host where the account that we are may not write the state folder."""
    if host.try_run(command("sh", "-c", MAY_WRITE, "sh", str(folder)), timeout=20).returncode == 1:
        then = f"at {host.name}, as root: install -d -o THE_ACCOUNT {folder}; or ssh.sudo = true"
        raise Refused(f"{folder} cannot be written by this account", where=host.name, then=then)


@dataclass(frozen=True)
class Bundle:
    """A release with every file that it needs; secrets stand in `env` alone."""

    release: Release
    files: Mapping[str, str]
    env: str


@dataclass(frozen=True)
class Intention:
    """What an interrupted command was about to do, as the journal has it."""

    command: str
    target: str
    since: str

    def over(self, entry: Record) -> bool:
        """Tell whether a line of some host's ledger says that this came to nothing, or that another command came after."""
        came_to_nothing = entry.outcome != "in service" and (entry.release, entry.started) == (self.target, self.since)
        return came_to_nothing or entry.started > self.since


@dataclass(frozen=True)
class State:
    """The state directory of one environment on one host."""

    host: Host
    folder: Path

    def bundle_folder(self, release: str) -> Path:
        """Where a release's bundle lives."""
        return self.folder / "releases" / release

    def keep(self, bundle: Bundle) -> None:
        """Write a bundle; release.json comes last and makes it whole."""
        folder = self.bundle_folder(bundle.release.id)
        self.host.write(folder / "env", bundle.env, mode=0o600)
        for name, text in bundle.files.items():
            self.host.write(folder / name, text)
        self.host.write(folder / "release.json", bundle.release.model_dump_json(indent=2))

    def release(self, release: str) -> Release:
        """Read what a release is; raise Refused when it is not kept here, or only half of its bundle."""
        path = self.bundle_folder(release) / "release.json"
        text = self.host.read(path)
        if text is None:
            raise Refused(
                f"there is no release {release} here",
                where=str(path.parent.parent),
                then="inv history; a host that came later gets it by inv deploy",
            )
        return parse(Release, text, path)

    def bundle(self, release: str) -> Bundle:
        """Read a bundle; raise Refused when there is none, or only half of one."""
        known, folder = self.release(release), self.bundle_folder(release)
        names = [name for name in self.host.names(folder) if name.endswith((".yml", ".conf"))]
        files = {name: self.host.read(folder / name) or "" for name in names}
        return Bundle(known, files, self.host.read(folder / "env") or "")

    def kept(self) -> list[str]:
        """List the releases whose bundles are here, failed ones among them."""
        return sorted(self.host.names(self.folder / "releases"))

    def record(self, entry: Record) -> None:
        """Add a line to the ledger."""
        self.host.append(self.folder / "ledger.jsonl", entry.model_dump_json())

    def ledger(self) -> tuple[Record, ...]:
        """Read the ledger, oldest first; a last line that a crash cut short is left out."""
        *lines, _ = (self.host.read(self.folder / "ledger.jsonl") or "").split("\n")
        entries = []
        for number, line in enumerate(lines, 1):
            try:
                entries.append(Record.model_validate_json(line))
            except ValidationError:
                raise OpsError(
                    f"line {number} of the ledger cannot be read",
                    where=str(self.folder / "ledger.jsonl"),
                    then="mend or remove that line",
                ) from None
        return tuple(entries)

    def served(self) -> list[str]:
        """Return the releases that were put into service, newest first, each once."""
        return list(dict.fromkeys(entry.release for entry in reversed(self.ledger()) if entry.outcome == "in service"))

    def note(self, **facts: object) -> None:
        """Add a line to the journal."""
        self.host.append(self.folder / "journal.jsonl", json.dumps({"time": now(), **facts}))

    def intention(self) -> Intention | None:
        """Return the command that began last and never said how it ended; lines that a crash cut or garbled are passed over."""
        for known in self.journal():
            command = known.get("command")
            if command in ("deploy", "rollback", "down") and "state" in known:
                begun = str(known.get("started") or known.get("time"))
                return Intention(command, str(known.get("target")), begun) if known["state"] == "begin" else None
        return None

    def last_step(self) -> str:
        """Return the step that the journal names last; empty when it names none."""
        return str(next(self.journal(), {}).get("step") or "")

    def journal(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's lines, newest first, those left out that a crash cut or garbled."""
        for line in reversed((self.host.read(self.folder / "journal.jsonl") or "").splitlines()):
            with suppress(ValueError):
                if isinstance(known := json.loads(line), dict):
                    yield known

    def scale(self) -> dict[str, int]:
        """Return the numbers of replicas that were chosen in place of the compose file's."""
        then = "remove it: the compose file's numbers hold then, and inv scale sets others"
        known = self.value(Scale, "scale.json", then)
        return dict(known.replicas) if known else {}

    def keep_scale(self, scale: Mapping[str, int]) -> None:
        """Remember chosen numbers of replicas; they hold for every release from now on."""
        self.host.write(self.folder / "scale.json", Scale(replicas=dict(scale)).model_dump_json())

    def schema(self) -> Schema | None:
        """Return the database's schema as the last migration left it."""
        return self.value(Schema, "schema.json")

    def value(self, kind: type[T], name: str, then: str = "restore that file") -> T | None:
        """Read one kept value; None when there is none."""
        text = self.host.read(self.folder / name)
        return parse(kind, text, self.folder / name, then) if text else None

    def keep_schema(self, schema: Schema) -> None:
        """Remember what the database's schema is now."""
        self.host.write(self.folder / "schema.json", schema.model_dump_json())


def parse(kind: type[T], text: str, path: Path, then: str = "restore that file") -> T:
    """Read one kept value; raise OpsError naming the file when it is not whole."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise OpsError(f"{path.name} cannot be read: {error.error_count()} mistake(s)", where=str(path), then=then) from None
