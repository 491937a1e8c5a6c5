"""The journal: a line before and after each command and each of its steps, whatever the command.

A line of a command has `run`, `command`, `state` (`begin`, then `done`, `failed`, `aborted` or another word), `target`,
and in `details` whatever that command must remember. A line of a step has the `run` that it belongs to. These keys keep
their meaning in every format, so that a run of a newer toolkit is seen here too.

What changes no release has `operation` in place of `command`: one that was cut off is typed again, and stops no other
command. Its lines are for `inv history`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import takewhile
from secrets import token_hex
from typing import Any, NamedTuple

from deploy.core.model import VERSION, Record
from deploy.state import kept
from deploy.state.folder import Folder, now, parse_time

JOURNAL = "journal.jsonl"
RELEASE = "release"
OPERATION = ("run", "state", "time", "operation", "release", "who")
RELEASING = ("deploy", "rollback", "down")  # of these the last one counts: it begins from what is there


def kind_of(command: str) -> str:
    """Name what a command is about: a later run about the same ends an interrupted one. Pure."""
    return RELEASE if command in RELEASING else command


@dataclass(frozen=True)
class Operation:
    """One operation as a host's journal has it; `outcome` is empty where it has not ended, or was cut off."""

    run: str
    words: str
    release: str
    who: str
    started: str
    seconds: float
    outcome: str


@dataclass
class Invocation:
    """The run that this process is doing."""

    run: str = field(default_factory=lambda: token_hex(4))


CURRENT = Invocation()


def begin_run() -> None:
    """Give the lines that follow another run's id, the same on all hosts."""
    CURRENT.run = Invocation().run


@dataclass(frozen=True)
class Intention:
    """What an interrupted command was about to do, as the journal has it."""

    command: str
    target: str
    since: str
    serving: str | None = None  # the release that served when it was begun first, where that was another one
    run: str = ""  # empty in format 0
    details: Mapping[str, Any] = field(default_factory=dict)
    too_new: bool = False  # a newer toolkit began it, and only these fields are understood

    @property
    def kind(self) -> str:
        """What the command is about."""
        return kind_of(self.command)

    def __str__(self) -> str:
        return f"{self.command} of {self.target}" if self.target else self.command

    def is_over_by(self, entry: Record) -> bool:
        """Tell whether a line of some host's ledger says that this failed, or that another command came after."""
        failed = entry.outcome != "in service" and (entry.release, entry.started) == (self.target, self.since)
        return failed or entry.started > self.since

    def is_followed_by(self, ended: EndedRun) -> bool:
        """Tell whether a command that has ended on some host was another one, begun later."""
        return ended.began > self.since and not (self.run and ended.run == self.run)


class EndedRun(NamedTuple):
    """A command that has ended: when it began, and its run; both empty where none has."""

    began: str = ""
    run: str = ""


class Journal(Folder):
    """The journal of one host."""

    def note(self, **facts: object) -> None:
        """Add a line to the journal."""
        line = {"time": now(), "version": VERSION, "run": CURRENT.run, **facts}
        self.host.append(self.folder / JOURNAL, json.dumps(line))

    def journal(self, having: str = "") -> Iterator[dict[str, Any]]:
        """Yield the journal's lines, newest first; with `having` only those whose text has it.

        Left out are lines that a crash cut or garbled, and steps that are too new.
        """
        text = self.tolerated(JOURNAL, "an interruption would not be seen") or ""
        for line in reversed([line for line in text.splitlines() if having in line]):
            with suppress(ValueError, RecursionError):
                if isinstance(read := json.loads(line), dict) and ("command" in read or not kept.is_too_new(read)):
                    yield read

    def commands(self, *names: str) -> Iterator[dict[str, Any]]:
        """Yield the journal's lines of whole commands, of those named or of all, newest first."""
        lines = (line for line in self.journal('"command"') if isinstance(line.get("command"), str) and "state" in line)
        return (line for line in lines if not names or line["command"] in names)

    def operations(self) -> tuple[Operation, ...]:
        """Return what changed no release and is written down, newest first; lines that lack something left out."""
        ends, found = dict[str, tuple[str, str]](), list[Operation]()
        for line in self.journal('"operation"'):
            run, state, time, words, release, who = (str(line.get(key) or "") for key in OPERATION)
            if state != "begin":
                ends[run] = time, state
                continue
            ended, outcome = ends.get(run, (time, ""))
            with suppress(ValueError):  # a time of another hand
                seconds = (parse_time(ended) - parse_time(time)).total_seconds()
                found.append(Operation(run, words, release, who, time, seconds, outcome))
        return tuple(found)

    def intention(self) -> Intention | None:
        """Return the command about releases that began last, where no line says how it ended."""
        return intention_of(self.commands(*RELEASING))

    def interruptions(self) -> tuple[Intention, ...]:
        """Return the newest command of each kind, where no line says how it ended; newest first."""
        kinds: dict[str, list[dict[str, Any]]] = {}
        for line in self.commands():
            kinds.setdefault(kind_of(line["command"]), []).append(line)
        return tuple(cut for lines in kinds.values() if (cut := intention_of(iter(lines))))

    def last_ended(self, kind: str = RELEASE) -> EndedRun:
        """Return the newest command of a kind where the journal says how it ended; an empty one elsewhere."""
        lines = (line for line in self.commands() if kind_of(line["command"]) == kind)
        last = next(lines, {"state": "begin"})
        if last["state"] == "begin":
            return EndedRun()
        beginning = next(lines, {})
        return EndedRun(str(beginning.get("started") or beginning.get("time") or ""), str(last.get("run") or ""))

    def once_served(self) -> bool:
        """Tell whether the journal says that some release came into service, since the data was last removed."""
        lines = takewhile(
            lambda line: not (line["command"] == "down" and line.get("volumes")), self.commands(*RELEASING)
        )
        return any(line["state"] == "done" and line["command"] != "down" for line in lines)

    def last_step(self) -> str:
        """Return the step that the journal names last; empty when it names none."""
        return str(next(self.journal(), {}).get("step") or "")


def intention_of(lines: Iterator[Mapping[str, Any]]) -> Intention | None:
    """Return the command that the newest of these lines begins; None where that line ends one. Pure."""
    last = next(lines, None)
    if not last or last["state"] != "begin":
        return None
    target = last.get("target")
    # each resume has written another line that begins it
    earlier = takewhile(lambda line: (line["state"], line.get("target")) == ("begin", target), lines)
    beginnings: Sequence[Mapping[str, Any]] = [last, *earlier]
    serving = next((str(line["serving"]) for line in beginnings if line.get("serving") not in (None, target)), None)
    details = last.get("details")
    return Intention(
        str(last["command"]),
        "" if target is None else str(target),
        str(last.get("started") or last.get("time")),
        serving,
        str(last.get("run") or ""),
        details if isinstance(details, dict) else {},
        kept.is_too_new(last),
    )
