"""The only place that prints. Results go to stdout, everything else for people to stderr."""

from __future__ import annotations

import json as jsonlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from deploy.errors import Refused

if TYPE_CHECKING:
    from rich.console import Console


def escape(text: str) -> str:
    """Keep square brackets from being read as markup."""
    from rich.markup import escape as escaped

    return escaped(text)


def people() -> Console:
    """Return the console for people: plain when not a terminal, NO_COLOR kept."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Tell the person something."""
    people().print(text, markup=False)


def warn(text: str) -> None:
    """Tell the person something that wants attention."""
    people().print(f"! {text}", style="yellow", markup=False)


def fail(text: str) -> None:
    """Show an error."""
    people().print(text, style="red", markup=False)


@contextmanager
def step(title: str) -> Iterator[None]:
    """Show a step: a spinner while it runs, then one line with its time."""
    screen, started = people(), time.monotonic()
    mark, style = "x", "red"
    try:
        if screen.is_terminal:
            with screen.status(title):
                yield
        else:
            yield
        mark, style = "ok", "green"
    finally:
        screen.print(f"[{style}]{mark:>3}[/] ", end="")
        screen.print(f"{title}  {time.monotonic() - started:.1f} s", markup=False)


@contextmanager
def working(title: str) -> Iterator[Callable[[str], None]]:
    """Show a step whose progress changes: the latest word beside a spinner on a terminal."""
    screen = people()
    if not screen.is_terminal:
        with step(title):
            yield lambda _: None
        return
    started = time.monotonic()
    with screen.status(title) as status:
        yield lambda word: status.update(f"{title}  {escape(word)}") if word else None
    screen.print(f"[green] ok[/] {title}  {time.monotonic() - started:.1f} s")


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    sheet = Table(*headings, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        sheet.add_row(*(str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 200
    Console(highlight=False, width=width).print(sheet)


def document(value: Any) -> None:
    """Print one JSON document on stdout."""
    print(jsonlib.dumps(value, indent=2, sort_keys=False))


def confirm(question: str, *, yes: bool, word: str = "yes") -> None:
    """Ask before something that cannot be taken back; raise Refused unless the person types the word."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Refused(f"{question} Nobody can be asked here.", then="add --yes")
    people().print(f"{question} Type {word} to go on: ", end="", markup=False)
    if sys.stdin.readline().strip() != word:
        raise Refused("not confirmed; nothing was changed")
