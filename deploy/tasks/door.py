"""What every door has in common: errors become exit codes here and nowhere else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from inspect import Signature, signature
from itertools import pairwise
from traceback import format_exc
from typing import Any

from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser
from invoke.tasks import task

from deploy.core.errors import Interrupted, OpsError, Refused, of_ours

COMMON = {
    "env": "environment, a file in deploy/environments (default: local)",
    "json": "one JSON document on stdout",
    "yes": "answer confirmations with yes",
}


def door(*, only: str = "", help: Mapping[str, str] | None = None, **options: Any) -> Callable[[Callable[..., None]], Any]:
    """Make a task of a function of a place and flags; whatever it raises becomes a message and an exit code.

    `--env` names the settings, unless the task is for `only` one environment. `options` are what invoke knows.
    """

    def made(body: Callable[..., None]) -> Any:
        def opened(c: Any, env: str = only or "local", **flags: Any) -> None:
            from deploy.config.environment import enter
            from deploy.core import console

            if sys.stdin is None:  # `<&-`: the next file or connection would be taken for what a person types
                os.open(os.devnull, os.O_RDONLY)
            # a job that is cancelled, a machine that shuts down, `inv unlock`: as if Ctrl-C had been typed
            signal.signal(signal.SIGTERM, signal.default_int_handler)

            try:
                if c.config.run.dry:  # nothing here goes through invoke's own `run`
                    raise Refused(
                        "there is no dry run: inv --dry would do everything", where="inv", then="inv plan shows what a deploy would do"
                    )
                body(enter(env), **flags)
            except KeyboardInterrupt:
                raise leave(Interrupted("interrupted", then="inv status shows what serves"), env, **flags) from None
            except Exception as error:  # noqa: BLE001  # whatever it is, programs get their document and people the next command
                if not isinstance(error, OpsError | OSError):
                    console.say(format_exc())
                raise leave(of_ours(error), env, **flags) from None

        c, env, _ = signature(opened).parameters.values()
        _, *flags = signature(body).parameters.values()
        shown = Signature([c, *flags] if only else [c, *flags, env])
        opened.__name__, opened.__doc__ = body.__name__, body.__doc__
        opened.__signature__ = shown  # type: ignore[attr-defined]  # invoke makes options of it
        told = {name: text for name, text in {**COMMON, **(help or {})}.items() if name in shown.parameters}
        return task(opened, auto_shortflags=False, help=told, **{"positional": [], **options})

    return made


def leave(error: OpsError, env: str = "local", *, json: bool = False, **others: Any) -> Exit:
    """Show an error and name its exit code; with --json it is the one document, unless the command has printed its own."""
    from deploy.core import console

    error.env = env
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
