"""What every command has in common: errors become exit codes here and nowhere else."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from inspect import Signature, signature
from traceback import format_exc
from typing import Any

from invoke.exceptions import Exit, ParseError
from invoke.parser import Parser
from invoke.tasks import task

from deploy.core.errors import Interrupted, OpsError, Refused, to_ops_error

COMMON = {
    "env": "environment, a file in deploy/environments (default: local)",
    "json": "one JSON document on stdout",
    "yes": "answer confirmations with yes",
}


def command(
    *, only: str = "", help: Mapping[str, str] | None = None, **options: Any
) -> Callable[[Callable[..., None]], Any]:
    """Make a task of a function of a place and flags; whatever it raises becomes a message and an exit code.

    `--env` names the settings, unless the task is for `only` one environment. `options` are what invoke knows.
    """

    def decorate(body: Callable[..., None]) -> Any:
        def opened(c: Any, env: str = only or "local", **flags: Any) -> None:
            from deploy.config.environment import enter
            from deploy.core import console

            if sys.stdin is None:  # `<&-`: the next file or connection would be taken for what a person types
                os.open(os.devnull, os.O_RDONLY)
            # a job that is cancelled, a machine that shuts down, `inv unlock`: as if Ctrl-C had been typed
            signal.signal(signal.SIGTERM, signal.default_int_handler)

            try:
                if c.config.run.dry:  # nothing here goes through invoke's own `run`
                    then = "inv plan shows what a deploy would do"
                    raise Refused(
                        "there is no dry run: inv --dry would do everything", where="inv", then=then, slug="no-dry-run"
                    )
                body(enter(env), **flags)
            except KeyboardInterrupt:
                raise leave(Interrupted("interrupted", then="inv status shows what serves"), env, **flags) from None
            except Exception as error:  # noqa: BLE001  # whatever it is, it gets an exit code
                if not isinstance(error, OpsError | OSError):
                    console.say(format_exc())
                raise leave(to_ops_error(error), env, **flags) from None

        c, env, _ = signature(opened).parameters.values()
        _, *flags = signature(body).parameters.values()
        shown = Signature([c, *flags] if only else [c, *flags, env])
        opened.__name__, opened.__doc__ = body.__name__, body.__doc__
        opened.__signature__ = shown  # type: ignore[attr-defined]  # invoke makes options of it
        texts = {name: text for name, text in {**COMMON, **(help or {})}.items() if name in shown.parameters}
        return task(opened, auto_shortflags=False, help=texts, **{"positional": [], **options})

    return decorate


def leave(error: OpsError, env: str = "local", *, json: bool = False, **others: Any) -> Exit:
    """Show an error and name its exit code.

    With --json it is the one document, unless the command has printed its own.
    """
    from deploy.core import console

    error.env = env
    console.fail(str(error))
    if json and not error.documented:
        console.document(error.document)
    return Exit(code=error.code)


def words(value: str) -> list[str]:
    """Split what a person named with commas.

    Refuse an option that the command does not know and invoke took for a name.
    """
    if value.startswith("-"):
        raise Refused(f"{value} is no option of this command", where="inv", then="inv --help TASK", slug="wrong-usage")
    named = [word for word in value.split(",") if word]
    if value and not named:  # nothing at all means all
        raise Refused(f"`{value}` names nothing", where="inv", then="inv --help TASK", slug="wrong-usage")
    return named


def rest() -> list[str]:
    """Return what was typed behind `--`, word by word; invoke keeps it as one text."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def require_filled(argv: list[str]) -> None:
    """Refuse a word that is empty, and an option whose value is."""
    for before, word in zip(["", *argv], argv, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            name = before if not word and before.startswith("--") else word.removesuffix("=")
            raise ValueError(f"{name or 'a word'} is empty; is a variable not set?")


def only_exec(parsed: Any) -> Any:
    """Refuse what stands behind `--` where no command reads it."""
    names = [task.name for task in parsed if task.name]  # none where invoke reads its own options
    if names and "exec" not in names and rest():
        raise ValueError(f"{' '.join(rest())} is read by nobody: only inv exec takes words behind --")
    return parsed


def strict(parse: Callable[[Parser, list[str]], Any]) -> Callable[[Parser, list[str]], Any]:
    """Make wrong usage of `inv` exit 2, as the command contract has it; invoke alone exits 1, or shows a traceback.

    A positional argument that is missing is empty: invoke knows no optional ones. What is typed empty is refused: a
    variable of a script that is not set would mean `all`, or `this checkout` in place of an earlier release.
    """

    def parsed(parser: Parser, argv: list[str]) -> Any:
        body, remainder = (argv[: argv.index("--")], argv[argv.index("--") :]) if "--" in argv else (argv, [])
        if body[:1] and body[0] in parser.contexts and {"--help", "-h"} & {*body[1:]}:
            names = parser.contexts[body[0]].positional_args  # a task that waits for a name would take it for that
            return parse(parser, [body[0], *[""] * len(names), "--help"])
        try:
            require_filled(body)
            try:
                return only_exec(parse(parser, argv))
            except ParseError as error:
                missing = error.context.missing_positional_args if error.context else []
                if not missing:
                    raise
                return only_exec(parse(parser, [*body, *[""] * len(missing), *remainder]))
        except (ParseError, ValueError) as error:
            then = "inv --list, or inv --help TASK; put -- before a command that inv exec runs"
            wrong = Refused(str(error), where=f"inv {' '.join(argv)}", then=then, slug="wrong-usage")
            raise leave(wrong, json="--json" in argv) from None

    return parsed


# invoke has no other place for it: its program is made before this module is read
Parser.parse_argv = strict(Parser.parse_argv)  # type: ignore[method-assign, assignment]  # see the line above
