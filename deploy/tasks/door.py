"""What every door has in common: errors become exit codes here and nowhere else."""

from __future__ import annotations

import functools
from collections.abc import Callable
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


def strict(parse: Callable[[Parser, list[str]], Any]) -> Callable[[Parser, list[str]], Any]:
    """Make wrong usage of `inv` exit 2, as the command contract has it; invoke alone exits 1, or shows a traceback."""

    def parsed(parser: Parser, argv: list[str]) -> Any:
        try:
            return parse(parser, argv)
        except (ParseError, ValueError) as error:
            raise leave(
                Refused(str(error), where=f"inv {' '.join(argv)}", then="inv --list, or inv --help TASK"), json="--json" in argv
            ) from None

    return parsed


# invoke has no other place for it: its program is made before this module is read
Parser.parse_argv = strict(Parser.parse_argv)  # type: ignore[method-assign, assignment]  # see the line above
