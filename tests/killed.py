"""Run `inv` and kill it with -9 just after one line of the journal: `python -m tests.killed NUMBER begin|done deploy …`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from invoke.main import program

from deploy.state import State


def main() -> None:
    """Count the steps' lines as they are written."""
    number, state, note, seen = int(sys.argv[1]), sys.argv[2], State.note, -1

    def counted(self: State, **facts: Any) -> None:
        nonlocal seen
        note(self, **facts)
        if "step" in facts:
            seen += facts["state"] == "begin"
            if (seen, facts["state"]) == (number, state):
                os.kill(os.getpid(), signal.SIGKILL)

    State.note = counted  # type: ignore[method-assign]  # the fault that is injected
    program.run(["inv", *sys.argv[3:]])


if __name__ == "__main__":
    main()
