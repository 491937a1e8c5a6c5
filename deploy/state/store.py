"""What a host remembers: journal, ledger, bundles, the schema. Plain files, one line or one rename at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import Refused
from deploy.core.model import Record, Release, Scale, Schema
from deploy.core.shell import command
from deploy.hosts.host import Host

T = TypeVar("T", bound=BaseModel)
LEDGER, JOURNAL, DAMAGED = "ledger.jsonl", "journal.jsonl", "ledger.jsonl.damaged"
BEGINNING = '{"release":'  # of each line of the ledger
SHOWN = 5  # numbers of lines in a message
WARNED: set[tuple[str, str]] = set()  # host and text of what this process has warned of: records are read many times


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
class Ledger:
    """The ledger's lines, oldest first; None stands for each that cannot be read."""

    lines: tuple[Record | None, ...] = ()

    @property
    def entries(self) -> tuple[Record, ...]:
        """The lines that can be read."""
        return tuple(line for line in self.lines if line)

    @property
    def recent(self) -> tuple[Record, ...]:
        """The lines after the last that cannot be read: nothing is missing among them."""
        damaged = [at for at, line in enumerate(self.lines) if line is None]
        return tuple(line for line in self.lines[damaged[-1] + 1 if damaged else 0 :] if line)

    @property
    def whole(self) -> bool:
        """Tell whether every line can be read."""
        return None not in self.lines

    @property
    def last(self) -> Record | None:
        """The line of what came into service last; None too where a line that cannot be read may be a later one."""
        return next((entry for entry in reversed(self.recent) if entry.outcome == "in service"), None)

    @property
    def accepted(self) -> str | None:
        """The release that came into service last; None where that is not certain."""
        return self.last.release if self.last else None


@dataclass(frozen=True)
class Intention:
    """What an interrupted command was about to do, as the journal has it."""

    command: str
    target: str
    since: str
    serving: str | None = None  # what another release served when it was begun first

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
        """Write a bundle, which nobody else may read; release.json comes last and makes it whole."""
        files = {"env": bundle.env, **bundle.files, "release.json": bundle.release.model_dump_json(indent=2)}
        for name, text in files.items():
            self.host.write(self.bundle_folder(bundle.release.id) / name, text, mode=0o600)

    def release(self, release: str) -> Release:
        """Read what a release is; raise Refused when it is not kept here, or only half of its bundle, or cannot be read."""
        path = self.bundle_folder(release) / "release.json"
        then = "inv deploy of that commit writes it again; inv history names other releases"
        text = self.readable(path, then)
        if text is None:
            raise Refused(
                f"there is no release {release} here",
                where=str(path.parent.parent),
                then="inv history; a host that came later gets it by inv deploy",
            )
        return parse(Release, text, path, then)

    def bundle(self, release: str) -> Bundle:
        """Read a bundle; raise Refused when there is none, or only half of one."""
        known, folder = self.release(release), self.bundle_folder(release)
        names = [name for name in self.host.names(folder) if name.endswith((".yml", ".conf"))]
        files = {name: self.host.read(folder / name) or "" for name in names}
        return Bundle(known, files, self.text(release, "env"))

    def text(self, release: str, name: str) -> str:
        """Read one file of a bundle; empty where there is none, or it cannot be read."""
        with suppress(OSError):
            return self.host.read(self.bundle_folder(release) / name) or ""
        return ""

    def kept(self) -> list[str]:
        """List the releases whose bundles are here, failed ones among them."""
        return sorted(self.host.names(self.folder / "releases"))

    def record(self, entry: Record) -> None:
        """Add a line to the ledger; a copy of what cannot be read in it is kept first, and a last one that lost its end gets it back."""
        try:
            if (tail := (self.host.read(self.folder / LEDGER) or "").rpartition("\n")[2]) and parsed(tail):
                self.host.append(self.folder / LEDGER, tail)
            self.keep_damaged()
        except OSError as error:
            console.warn(f"no copy is kept of what cannot be read in the ledger: {error.strerror or error}")
        self.host.append(self.folder / LEDGER, entry.model_dump_json())

    def keep_damaged(self) -> None:
        """Keep a copy of the ledger's lines that cannot be read, and of a last one that was cut short, which the next line replaces."""
        *lines, tail = (self.host.read(self.folder / LEDGER) or "").split("\n")
        damaged = [line for line in lines if line.strip() and not parsed(line)] + ([tail] if tail else [])
        kept = (self.host.read(self.folder / DAMAGED) or "") if damaged else ""
        if new := [line for line in dict.fromkeys(damaged) if line not in kept.split("\n")]:
            self.host.write(self.folder / DAMAGED, kept + "".join(f"{line}\n" for line in new), mode=0o600)

    def read_ledger(self) -> Ledger:
        """Read the ledger. Lines that cannot be read are passed over with a warning; a last one that a crash cut short is left out."""
        text = self.tolerated(LEDGER, "what was accepted last is taken for not known")
        return Ledger((None,)) if text is None else self.lines_of(text)

    def lines_of(self, text: str) -> Ledger:
        """Read the text of the ledger."""
        *ended, tail = text.split("\n")
        # by a crash while it was written, and the journal says that its command did not come to its end
        cut_short = not parsed(tail) and tail[: len(BEGINNING)] == BEGINNING[: len(tail)] and (not tail or bool(self.intention()))
        lines = [*enumerate(ended, 1), *([] if cut_short else [(len(ended) + 1, tail)])]
        known = {number: parsed(line) for number, line in lines if line.strip()}
        if damaged := [str(number) for number, entry in known.items() if not entry]:
            told = f"{self.folder / LEDGER}: {numbered(damaged)} cannot be read, and passed over"
            self.warn(f"{told}; the next command that writes a line keeps a copy in {DAMAGED}")
        return Ledger(tuple(known.values()))

    def ledger(self) -> tuple[Record, ...]:
        """Return the ledger's lines, oldest first, those left out that cannot be read."""
        return self.read_ledger().entries

    def history(self) -> tuple[Record, ...]:
        """Return the ledger's lines as `ledger` does; raise OSError where there is no reading the file at all."""
        return self.lines_of(self.host.read(self.folder / LEDGER) or "").entries

    def served(self) -> list[str]:
        """Return the releases that were put into service, newest first, each once."""
        return served_by(self.ledger())

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

    def note(self, **facts: object) -> None:
        """Add a line to the journal."""
        self.host.append(self.folder / "journal.jsonl", json.dumps({"time": now(), **facts}))

    def commands(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's lines of whole commands, newest first."""
        return (line for line in self.journal() if line.get("command") in ("deploy", "rollback", "down") and "state" in line)

    def intention(self) -> Intention | None:
        """Return the command that began last and never said how it ended; lines that a crash cut or garbled are passed over."""
        lines = self.commands()
        last = next(lines, None)
        if not last or last["state"] != "begin":
            return None
        target = last.get("target")
        begun = [last, *takewhile(lambda line: (line["state"], line.get("target")) == ("begin", target), lines)]  # resumes begin it again
        serving = next((str(line["serving"]) for line in begun if line.get("serving") not in (None, target)), None)
        return Intention(str(last["command"]), str(target), str(last.get("started") or last.get("time")), serving)

    def ended(self) -> str:
        """Return when the command began that the journal names last, where it says how that ended; empty elsewhere."""
        lines = self.commands()
        if next(lines, {"state": "begin"})["state"] == "begin":
            return ""
        return str(next(lines, {}).get("started") or "")

    def once_served(self) -> bool:
        """Tell whether the journal says that some release came into service, since the data was last removed."""
        lines = takewhile(lambda line: not (line["command"] == "down" and line.get("volumes")), self.commands())
        return any(line["state"] == "done" and line["command"] != "down" for line in lines)

    def last_step(self) -> str:
        """Return the step that the journal names last; empty when it names none."""
        return str(next(self.journal(), {}).get("step") or "")

    def journal(self) -> Iterator[dict[str, Any]]:
        """Yield the journal's lines, newest first, those left out that a crash cut or garbled."""
        for line in reversed((self.tolerated(JOURNAL, "what was cut off is not known") or "").splitlines()):
            with suppress(ValueError, RecursionError):
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
        """Return the database's schema as the last migration left it; None, with a warning, where that cannot be read."""
        try:
            return self.value(Schema, "schema.json")
        except Refused as error:
            self.warn(f"{self.folder / error.what}; no rollback across it, the next migration writes it again")
            return None

    def value(self, kind: type[T], name: str, then: str = "restore that file") -> T | None:
        """Read one kept value; None when there is none."""
        text = self.readable(self.folder / name, then)
        return parse(kind, text, self.folder / name, then) if text else None

    def readable(self, path: Path, then: str) -> str | None:
        """Read a file; None when there is none, Refused when that is not possible."""
        try:
            return self.host.read(path)
        except OSError as error:
            raise Refused(f"{path.name} cannot be read: {error.strerror or error}", where=str(path), then=then) from None

    def keep_schema(self, schema: Schema) -> None:
        """Remember what the database's schema is now."""
        self.host.write(self.folder / "schema.json", schema.model_dump_json())


def parse(kind: type[T], text: str, path: Path, then: str = "restore that file") -> T:
    """Read one kept value; raise Refused naming the file when it is not whole."""
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise Refused(f"{path.name} cannot be read: {error.error_count()} mistake(s)", where=str(path), then=then) from None


def parsed(line: str) -> Record | None:
    """Read a line of the ledger; None for one that is none, or whose time is none. Pure."""
    try:
        entry = Record.model_validate_json(line)
        datetime.fromisoformat(entry.started)
    except ValueError:
        return None
    return entry


def numbered(damaged: Sequence[str]) -> str:
    """Name lines by their numbers, the first few of many. Pure."""
    shown = ", ".join(damaged[:SHOWN]) + (f" and {len(damaged) - SHOWN} more" if len(damaged) > SHOWN else "")
    return f"line{'s' if len(damaged) > 1 else ''} {shown}"


def served_by(entries: Sequence[Record]) -> list[str]:
    """Return the releases that were put into service, newest first, each once. Pure."""
    return list(dict.fromkeys(entry.release for entry in reversed(entries) if entry.outcome == "in service"))


def state_of(at: Environment, host: Host) -> State:
    """Return what a host remembers of an environment."""
    return State(host, at.settings.state_dir)
