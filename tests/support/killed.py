"""Run `inv` and kill it with -9 just after one line of the journal.

`python -m tests.support.killed NUMBER begin|done deploy …`.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from typing import Any

from invoke.main import program

from deploy.state.journal import Journal


def main() -> None:
    """Number the steps as they begin, over all hosts, which go side by side; a host does one after the other."""
    number, state, note = int(sys.argv[1]), sys.argv[2], Journal.note
    numbers, doing = itertools.count(), {}

    def counted(self: Journal, **facts: Any) -> None:
        note(self, **facts)
        if "step" in facts:
            if facts["state"] == "begin":
                doing[self.host] = next(numbers)
            if (doing[self.host], facts["state"]) == (number, state):
                os.kill(os.getpid(), signal.SIGKILL)

    Journal.note = counted  # type: ignore[method-assign]  # the fault that is injected
    program.run(["inv", *sys.argv[3:]])


if __name__ == "__main__":
    main()
