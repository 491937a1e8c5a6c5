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
    """Make a task of a function of an environment and flags; whatever it raises becomes a message and an exit code.

    `--env` names the environment, unless the task is for `only` one. `options` are those of invoke's own `task`.
    """

    def decorate(body: Callable[..., None]) -> Any:
        def run(c: Any, env: str = only or "local", **flags: Any) -> None:
            from deploy.config.environment import enter
            from deploy.core import console

            prepare_process()
            try:
                refuse_dry_run(c)
                body(enter(env), **flags)
            except KeyboardInterrupt:
                interrupted = Interrupted("interrupted", then="inv status shows what serves")
                raise report(interrupted, env, **flags) from None
            except Exception as error:  # noqa: BLE001  # whatever it is, it gets an exit code
                if not isinstance(error, OpsError | OSError):
                    console.say(format_exc())
                raise report(to_ops_error(error), env, **flags) from None

        c, env, _ = signature(run).parameters.values()
        _, *flags = signature(body).parameters.values()
        options_of_task = Signature([c, *flags] if only else [c, *flags, env])
        run.__name__, run.__doc__ = body.__name__, body.__doc__
        run.__signature__ = options_of_task  # type: ignore[attr-defined]  # invoke makes options of it
        all_help = {**COMMON, **(help or {})}
        own_help = {name: text for name, text in all_help.items() if name in options_of_task.parameters}
        return task(run, auto_shortflags=False, help=own_help, **{"positional": [], **options})

    return decorate


def prepare_process() -> None:
    """Have a standard input, and let SIGTERM interrupt as Ctrl-C does."""
    if sys.stdin is None:  # `<&-`: the next file or connection would be taken for what a person types
        os.open(os.devnull, os.O_RDONLY)
    # a job that is cancelled, a machine that shuts down, `inv unlock`
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def refuse_dry_run(c: Any) -> None:
    """Refuse `inv --dry`: no command here goes through invoke's own `run`, so that it would do everything."""
    if c.config.run.dry:
        raise Refused(
            "there is no dry run: inv --dry would do everything",
            where="inv",
            then="inv plan shows what a deploy would do",
            slug="no-dry-run",
        )


def report(error: OpsError, env: str = "local", *, json: bool = False, **_: Any) -> Exit:
    """Print an error; return the exit that has its code.

    With `json` it is the one document on stdout, unless the command has printed its own.
    """
    from deploy.core import console

    error.env = env
    console.fail(str(error))
    if json and not error.documented:
        console.document(error.document)
    return Exit(code=error.code)


def split_names(value: str) -> list[str]:
    """Split names with commas between them; none at all mean all.

    Refuse what begins with a dash: an option that the command does not have, which invoke took for a name.
    """
    if value.startswith("-"):
        raise Refused(f"{value} is no option of this command", where="inv", then="inv --help TASK", slug="wrong-usage")
    names = [name for name in value.split(",") if name]
    if value and not names:
        raise Refused(f"`{value}` names nothing", where="inv", then="inv --help TASK", slug="wrong-usage")
    return names


def words_after_dashes() -> list[str]:
    """Return the words behind `--` on the command line; invoke keeps them as one text."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def require_filled(argv: list[str]) -> None:
    """Raise ValueError for an empty word, and for an option with an empty value."""
    for before, word in zip(["", *argv], argv, strict=False):
        if not word or (word.startswith("--") and word.endswith("=")):
            name = before if not word and before.startswith("--") else word.removesuffix("=")
            raise ValueError(f"{name or 'a word'} is empty; is a variable not set?")


def require_exec(parsed: Any) -> None:
    """Raise ValueError for words behind `--`, unless the task is `inv exec`: no other reads them."""
    names = [task.name for task in parsed if task.name]  # none where invoke reads its own options
    if names and "exec" not in names and words_after_dashes():
        raise ValueError(f"{' '.join(words_after_dashes())} is read by nobody: only inv exec takes words behind --")


Parse = Callable[[Parser, list[str]], Any]


def with_contract(parse: Parse) -> Parse:
    """Let invoke's parser follow the command contract: wrong usage exits 2, with a message.

    invoke alone exits 1, or shows a traceback. It knows no optional positional arguments: one that is missing is empty.
    One that is typed empty is refused: a variable of a script that is not set would mean `all`, or `this checkout` in
    place of an earlier release.
    """

    def parse_contract(parser: Parser, argv: list[str]) -> Any:
        body, remainder = (argv[: argv.index("--")], argv[argv.index("--") :]) if "--" in argv else (argv, [])
        if body[:1] and body[0] in parser.contexts and {"--help", "-h"} & {*body[1:]}:
            # filled, or a task with a positional argument would take `--help` for it
            positional = parser.contexts[body[0]].positional_args
            return parse(parser, [body[0], *[""] * len(positional), "--help"])
        try:
            require_filled(body)
            parsed = parse_missing_as_empty(parse, parser, body, remainder)
            require_exec(parsed)
        except (ParseError, ValueError) as error:
            then = "inv --list, or inv --help TASK; put -- before a command that inv exec runs"
            wrong = Refused(str(error), where=f"inv {' '.join(argv)}", then=then, slug="wrong-usage")
            raise report(wrong, json="--json" in argv) from None
        return parsed

    return parse_contract


def parse_missing_as_empty(parse: Parse, parser: Parser, body: list[str], remainder: list[str]) -> Any:
    """Parse a command line; a positional argument that is missing is empty."""
    try:
        return parse(parser, [*body, *remainder])
    except ParseError as error:
        missing = error.context.missing_positional_args if error.context else []
        if not missing:
            raise
        return parse(parser, [*body, *[""] * len(missing), *remainder])


# invoke has no other place for it: its program is made before this module is read
Parser.parse_argv = with_contract(Parser.parse_argv)  # type: ignore[method-assign, assignment]  # see the line above
