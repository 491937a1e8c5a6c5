"""Run `inv` and, at one moment of it, a shell line: `python -m tests.nights.at Switch:begin 'kill -9 $PPID' deploy …`.

A moment is a step's line in the journal, or the begin or end of a function: `deploy.edge.switch.prove:begin`. It comes once.
"""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from typing import Any

from invoke.main import program

from deploy.state.journal import Journal


class Fault:
    """A shell line that is run once."""

    def __init__(self, line: str) -> None:
        self.line, self.due = line, True

    def strike(self) -> None:
        """Run it, unless it was run."""
        if self.due:
            self.due = False
            subprocess.run(["sh", "-c", self.line], stdin=subprocess.DEVNULL)


def at_line(step: str, state: str, fault: Fault) -> None:
    """Strike just after a step's line was written."""
    note = Journal.note

    def noted(self: Journal, **facts: Any) -> None:
        note(self, **facts)
        if (facts.get("step"), facts.get("state")) == (step, state):
            fault.strike()

    Journal.note = noted  # type: ignore[method-assign]  # where the fault comes in


def at_function(path: str, state: str, fault: Fault) -> None:
    """Strike when a function begins, or when it has done its work."""
    module, _, name = path.rpartition(".")
    room = importlib.import_module(module)
    body = getattr(room, name)

    def called(*args: Any, **kwargs: Any) -> Any:
        if state == "begin":
            fault.strike()
        found = body(*args, **kwargs)
        if state == "done":
            fault.strike()
        return found

    setattr(room, name, called)


def main() -> None:
    """Prepare the fault, then be `inv`."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run in the background, where both are ignored
    signal.signal(signal.SIGINT, signal.default_int_handler)
    moment, line, *words = sys.argv[1:]
    name, _, state = moment.partition(":")
    (at_function if "." in name else at_line)(name, state, Fault(line))
    program.run(["inv", *words])


if __name__ == "__main__":
    main()
