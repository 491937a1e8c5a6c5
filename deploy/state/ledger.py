"""The ledger: a line for each release that was tried, with its outcome. Lines are added, never removed or changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from deploy.core import console
from deploy.core.model import Record
from deploy.state import kept
from deploy.state.journal import Journal

LEDGER, DAMAGED = "ledger.jsonl", "ledger.jsonl.damaged"
BEGINNINGS = ('{"version":', '{"release":')  # of each line, by us and by format 0
LISTED = 5  # numbers of lines in a message


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


class LedgerFile(Journal):
    """The ledger of one host."""

    def record(self, entry: Record) -> None:
        """Add a line to the ledger.

        Before that a copy of damaged lines is kept, and a last line that lost its end gets it back.
        """
        try:
            if (tail := (self.host.read(self.folder / LEDGER) or "").rpartition("\n")[2]) and not is_damaged(tail):
                self.host.append(self.folder / LEDGER, tail)
            self.keep_damaged()
        except OSError as error:
            console.warn(f"no copy is kept of what cannot be read in the ledger: {error.strerror or error}")
        self.host.append(self.folder / LEDGER, kept.dump(entry))

    def keep_damaged(self) -> None:
        """Keep a copy of damaged lines, and of a last one that was cut short, which the next line replaces."""
        *lines, tail = (self.host.read(self.folder / LEDGER) or "").split("\n")
        damaged = [line for line in lines if line.strip() and is_damaged(line)] + ([tail] if tail else [])
        copy = (self.host.read(self.folder / DAMAGED) or "") if damaged else ""
        if new := [line for line in dict.fromkeys(damaged) if line not in copy.split("\n")]:
            self.host.write(self.folder / DAMAGED, copy + "".join(f"{line}\n" for line in new), mode=0o600)

    def read_ledger(self) -> Ledger:
        """Read the ledger; warn of lines that cannot be read, and leave out a last one that a crash cut short."""
        text = self.tolerated(LEDGER, "the release that was accepted last is taken for unknown")
        return Ledger((None,)) if text is None else self.lines_of(text)

    def lines_of(self, text: str) -> Ledger:
        """Read the text of the ledger."""
        *ended, tail = text.split("\n")
        # by a crash while it was written, and the journal says that its command did not come to its end
        cut_short = is_damaged(tail) and is_beginning(tail) and (not tail or bool(self.intention()))
        lines = [*enumerate(ended, 1), *([] if cut_short else [(len(ended) + 1, tail)])]
        read = {number: parsed(line) for number, line in lines if line.strip()}
        if damaged := [number for number, (_, bad) in read.items() if bad]:
            words = f"{self.folder / LEDGER}: {numbered(damaged)} cannot be read, and passed over"
            self.warn(f"{words}; the next command that writes a line keeps a copy in {DAMAGED}")
        if newer := [number for number, (entry, bad) in read.items() if not (entry or bad)]:
            self.warn(f"{self.folder / LEDGER}: {numbered(newer)} of a newer toolkit, and passed over; {kept.NEWER}")
        return Ledger(tuple(entry for entry, _ in read.values()))

    def ledger(self) -> tuple[Record, ...]:
        """Return the ledger's lines, oldest first, those left out that cannot be read."""
        return self.read_ledger().entries

    def history(self) -> tuple[Record, ...]:
        """Return the ledger's lines as `ledger` does; raise OSError where there is no reading the file at all."""
        return self.lines_of(self.host.read(self.folder / LEDGER) or "").entries

    def schema_of(self, release: str) -> str | None:
        """Return the schema revision that a release's own code is of."""
        revisions = (entry.schema_revision for entry in reversed(self.ledger()) if entry.release == release)
        return next((revision for revision in revisions if revision), None)  # a failed try left none

    def served(self) -> list[str]:
        """Return the releases that were put into service, newest first, each once."""
        return served_by(self.ledger())


def parsed(line: str) -> tuple[Record | None, bool]:
    """Read a line: its record, and whether it is damaged; it is neither where only a newer toolkit can read it.

    Pure.
    """
    try:
        entry = kept.value(Record, kept.read(line))
        datetime.fromisoformat(entry.started)
    except kept.NewerFormat:
        return None, False
    except ValueError:
        return None, True
    return entry, False


def is_damaged(line: str) -> bool:
    """Tell whether a line cannot be read by any toolkit. Pure."""
    return parsed(line)[1]


def is_beginning(tail: str) -> bool:
    """Tell whether a text may be the first part of a line. Pure."""
    return any(tail[: len(beginning)] == beginning[: len(tail)] for beginning in BEGINNINGS)


def numbered(lines: Sequence[int]) -> str:
    """Name lines by their numbers, the first few of many. Pure."""
    shown = ", ".join(map(str, lines[:LISTED])) + (f" and {len(lines) - LISTED} more" if len(lines) > LISTED else "")
    return f"line{'s' if len(lines) > 1 else ''} {shown}"


def served_by(entries: Sequence[Record]) -> list[str]:
    """Return the releases that were put into service, newest first, each once. Pure."""
    return list(dict.fromkeys(entry.release for entry in reversed(entries) if entry.outcome == "in service"))
