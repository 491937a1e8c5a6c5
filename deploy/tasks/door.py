"""What every door has in common: errors become exit codes here and nowhere else."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from invoke.exceptions import Exit
from invoke.tasks import task

from deploy.errors import Interrupted, OpsError

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
                raise leave(error) from None
            except KeyboardInterrupt:
                raise leave(Interrupted("interrupted", then="inv status shows what serves")) from None

        return task(opened, auto_shortflags=False, **{"positional": [], **options})

    return made


def leave(error: OpsError) -> Exit:
    """Show an error and name its exit code."""
    from deploy import console

    console.fail(str(error))
    return Exit(code=error.code)
