"""What every door has in common: errors become exit codes here and nowhere else."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser
from invoke.tasks import task

from deploy.errors import Interrupted, MachineFailed, OpsError, Refused

ENV = {"env": "environment, a file in deploy/environments (default: local)"}
JSON = {"json": "one JSON document on stdout"}
YES = {"yes": "answer confirmations with yes"}


def door(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a task of a function: `help` and `positional` as invoke knows them, OpsError as message and exit code."""

    def made(body: Callable[..., None]) -> Any:
        @functools.wraps(body)
        def opened(*args: Any, **kwargs: Any) -> None:
            # a job that is cancelled, a machine that shuts down, `inv unlock`: as if Ctrl-C had been typed
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            try:
                body(*args, **kwargs)
            except OpsError as error:
                raise leave(error, **kwargs) from None
            except OSError as error:
                raise leave(MachineFailed(error), **kwargs) from None
            except KeyboardInterrupt:
                raise leave(Interrupted("interrupted", then="inv status shows what serves"), **kwargs) from None

        return task(opened, auto_shortflags=False, **{"positional": [], **options})

    return made


def leave(error: OpsError, *, json: bool = False, **others: Any) -> Exit:
    """Show an error and name its exit code; with --json it is the one document, unless the command has printed its own."""
    from deploy import console

    console.fail(str(error))
    if json and not error.documented:
        console.document(error.document)
    return Exit(code=error.code)


def gathered(parser: Parser, argv: list[str]) -> list[str]:
    """Write `logs a b` as `logs --service=a --service=b`: invoke knows no argument that takes any number of words.

    Of a task with another argument before it (exec), everything from the first such word on is meant.
    """
    context = parser.contexts.get(argv[0]) if argv else None
    many = next((flag for flag, known in context.flags.items() if known.kind is list), None) if context else None
    if not context or not many:
        return argv
    body, single, words = argv[: argv.index("--")] if "--" in argv else argv, len(context.positional_args), argv[:1]
    for before, word in pairwise(body):
        value = before in context.flags and context.flags[before].takes_value
        command = single < 0 and bool(context.positional_args)
        if command and word in context.flags:
            raise ValueError(f"{word} is an option of inv {argv[0]} too; put -- before the command")
        single -= (bare := not value and not word.startswith("-"))
        words.append(f"{many}={word}" if command or (bare and single < 0) else word)
    return words


def rest() -> list[str]:
    """Return what was typed behind `--`, word by word; invoke keeps it as one text."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def strict(parse: Callable[[Parser, list[str]], Any]) -> Callable[[Parser, list[str]], Any]:
    """Make wrong usage of `inv` exit 2, as the command contract has it; invoke alone exits 1, or shows a traceback."""

    def parsed(parser: Parser, argv: list[str]) -> Any:
        try:
            return parse(parser, gathered(parser, argv))
        except (ParseError, ValueError) as error:
            then = "inv --list, or inv --help TASK"
            raise leave(Refused(str(error), where=f"inv {' '.join(argv)}", then=then), json="--json" in argv) from None

    return parsed


# invoke has no other place for it: its program is made before this module is read
Parser.parse_argv = strict(Parser.parse_argv)  # type: ignore[method-assign, assignment]  # see the line above
