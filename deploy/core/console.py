"""The only place that prints. Results go to stdout, everything else for people to stderr."""

from __future__ import annotations

import json as jsonlib
import os
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.core.errors import Refused

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "red")  # of names in front of lines
RESULTS = {"PASS": "green", "FAIL": "red", "UNKNOWN": "yellow"}  # of checks, in tables
SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
DONE: list[tuple[str, str, float]] = []  # title, mark and seconds of this run's steps, for the summary
MOVING: list[Console] = []  # the console whose last line moves; others must print through it
SPEAKER = ContextVar("SPEAKER", default="")  # stands in front of each line, where several hosts work


def people() -> Console:
    """Return the console for people: plain when not a terminal, NO_COLOR kept."""
    from rich.console import Console

    return MOVING[0] if MOVING else Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def say(text: str, style: str | None = None) -> None:
    """Print a line for people as it is, never as a workflow command."""
    text = re.sub("(?m)^", SPEAKER.get(), text) if SPEAKER.get() else text
    people().print(no_command(text), style=style, markup=False)


def no_command(text: str) -> str:
    """Escape what the runner of GitHub Actions would take for a command; unchanged elsewhere."""
    return re.sub(r"(?m)^(\s*):(?=:)|##(?=\[)", r"\g<0> ", text) if in_actions() else text


@contextmanager
def speaking(name: str) -> Iterator[None]:
    """Put a name in front of every line that this thread prints."""
    token = SPEAKER.set(name)
    try:
        yield
    finally:
        SPEAKER.reset(token)


def warn(text: str) -> None:
    """Print a line that needs attention."""
    say(f"! {text}", "yellow")


def fail(text: str) -> None:
    """Show an error; in GitHub Actions as an annotation too."""
    say(text, "red")
    workflow_command("error", text)


def in_actions() -> bool:
    """Tell whether GitHub Actions reads what is printed."""
    return os.environ.get("GITHUB_ACTIONS") == "true"


def workflow_command(name: str, text: str = "") -> None:
    """Print a workflow command in GitHub Actions, on stderr: its runner reads both, and stdout may hold a document.

    https://github.com/actions/runner/blob/main/src/Runner.Worker/Handlers/ScriptHandler.cs
    """
    if in_actions():
        for plain, escaped in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A")):
            text = text.replace(plain, escaped)
        people().print(f"::{name}::{text}", markup=False)


class Step:
    """A running step, and its latest line."""

    def __init__(self, title: str, within: float) -> None:
        self.title, self.within = title, within
        self.latest, self.grouped, self.started = "", False, time.monotonic()

    def line(self, text: str) -> None:
        """Show a line of detail, indented; in GitHub Actions in the step's group."""
        if not self.grouped:
            workflow_command("group", self.title)
            self.grouped = True
        say(f"    {text}")

    def word(self, text: str) -> None:
        """Show the latest detail: on a terminal beside the spinner, in GitHub Actions as a line, else not at all."""
        if text and in_actions():
            self.line(text)
        self.latest = text or self.latest

    def end(self, mark: str, style: str) -> None:
        """Show the step's one line with its time."""
        from rich.markup import escape

        seconds = time.monotonic() - self.started
        DONE.append((SPEAKER.get() + self.title, mark, seconds))
        if self.grouped:
            workflow_command("endgroup")
        people().print(f"{SPEAKER.get()}[{style}]{mark:>3}[/] {escape(self.title)}  {seconds:.1f} s")

    def __rich__(self) -> Table:
        """Draw the moving line: a spinner, and with a limit how much of it is used."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        seconds, line = time.monotonic() - self.started, Table.grid(padding=(0, 1))
        used = Text(f"{seconds:.0f} of {self.within:.0f} s")
        bar = (ProgressBar(self.within, seconds, 24), used) if self.within else ()
        line.add_row(SPINNER[int(seconds * 10) % len(SPINNER)], Text(f"{self.title}  {self.latest}"), *bar)
        return line


@contextmanager
def step(title: str, *, within: float = 0) -> Iterator[Step]:
    """Show a step: while it runs a spinner, or a bar when it may take `within` seconds; then one line with its time."""
    shown, mark, style = Step(title, within), "x", "red"
    try:
        with moving(shown):
            yield shown
        mark, style = "ok", "green"
    finally:
        shown.end(mark, style)


@contextmanager
def moving(shown: Step) -> Iterator[None]:
    """Keep a step's line moving; not without a terminal, nor under another that moves."""
    screen = people()
    # isatty besides: FORCE_COLOR makes no terminal
    visible = screen.is_terminal and not screen.is_dumb_terminal and sys.stderr.isatty()
    if MOVING or SPEAKER.get() or not visible:
        yield
        return
    from rich.live import Live

    MOVING.append(screen)
    try:
        with Live(shown, console=screen, transient=True, refresh_per_second=10):
            yield
    finally:
        MOVING.clear()


def summary(title: str, facts: Mapping[str, str]) -> None:
    """Add facts and the steps so far to the page that GitHub Actions shows of a job; nothing elsewhere."""
    steps = [f"| {markdown(title)} | {mark} | {seconds:.1f} s |" for title, mark, seconds in DONE]
    DONE.clear()
    lines = [f"### {markdown(title)}", "", *(f"- {name}: {markdown(text)}" for name, text in facts.items()), ""]
    if steps:
        lines += ["| step | | took |", "|---|---|---:|", *steps, ""]
    try:
        if path := os.environ.get("GITHUB_STEP_SUMMARY"):
            with Path(path).open("a") as page:
                page.write("\n".join(lines) + "\n")
    except OSError as error:
        warn(f"the step summary was not written: {error}")


def markdown(text: str) -> str:
    """Escape a text so that Markdown shows it as it is, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>()#|~!&])", r"\\\1", " ".join(text.split()))


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout, nothing cut: a column of single words (ids, times) is as wide as these."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    sheet = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[Text(str(cell), style=RESULTS.get(str(cell), "")) for cell in row] for row in rows]
    for number, heading in enumerate(headings):
        column = [row[number] for row in cells]
        words = not any(" " in text.plain for text in column)
        width = max((text.cell_len for text in column if words), default=None)
        sheet.add_column(Text(heading), overflow="fold", min_width=width)
    for texts in cells:
        sheet.add_row(*texts)
    screen = Console(highlight=False, width=None if sys.stdout.isatty() else 200)
    with screen.capture() as drawn:  # rich would take a closed pipe for an error
        screen.print(sheet, crop=False)  # what is wider even so, the terminal breaks
    with read_or_not():
        print(no_command(drawn.get()), end="", flush=True)


def table_of(headings: Sequence[str], rows: Mapping[str, Sequence[Sequence[object]]], *, several: bool) -> None:
    """Print one table of all hosts' rows, with the host's name where there are `several`; nothing without rows."""
    flat = [[name, *row] if several else row for name, own in rows.items() for row in own]
    if flat:
        table(["host", *headings] if several else headings, flat)


def lines(names: Collection[str]) -> Callable[[str, str], None]:
    """Return a function that prints a line on stdout, behind its coloured name where there are several names."""
    from rich.console import Console

    screen, width, prefixes = Console(), max(map(len, names), default=0), defaultdict[str, str](str)
    for name, colour in zip(names if len(names) > 1 else (), cycle(COLOURS), strict=False):
        with screen.capture() as styled:
            screen.print(f"{name:<{width}} |", style=colour, end=" ", markup=False, highlight=False, soft_wrap=True)
        prefixes[name] = styled.get()
    return lambda name, text: print(no_command(f"{prefixes[name]}{text}"), flush=True)


def document(value: Any, unread: Exception | None = None) -> None:
    """Print one JSON document on stdout; raise `unread`, where it is given, if nobody reads it."""
    with read_or_not(unread):
        print(jsonlib.dumps(value, indent=2, sort_keys=False), flush=True)


@contextmanager
def read_or_not(unread: Exception | None = None) -> Iterator[None]:
    """Let a closed pipe of stdout be an end like any other, or raise `unread`."""
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is written when the process ends
        if unread:
            raise unread from None


def confirm(question: str, *, yes: bool, word: str = "yes", unasked: str = "add --yes") -> None:
    """Ask before something that cannot be undone; raise Refused unless the person types the word."""
    if yes:
        return
    if not (sys.stdin and sys.stdin.isatty()):  # it is None where `<&-` closed it
        what = f"{question} stdin is not a terminal, so nobody can confirm it."
        raise Refused(what, then=unasked, slug="confirmation-missing")
    people().print(f"{question} Type {word} to go on: ", end="", markup=False)
    if sys.stdin.readline().strip() != word:
        raise Refused("not confirmed; nothing was changed", then=f"run it again and type {word}", slug="not-confirmed")
