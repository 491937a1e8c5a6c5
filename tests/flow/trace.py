"""Count what one call runs through.

Calls from file to file within deploy/, the files, and how deep they stand in each other.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import CO_GENERATOR
from types import FrameType
from typing import Any

from deploy.core.errors import PACKAGE

HOUSE = f"{PACKAGE}/"


@dataclass
class Trace:
    """What was seen: crossings between the toolkit's files, all those files, and the most of its frames at once."""

    crossings: int = 0
    depth: int = 0
    files: set[str] = field(default_factory=set)
    calls: dict[str, int] = field(default_factory=dict)  # function -> times that another file called it

    def __call__(self, frame: FrameType, event: str, _: object) -> None:
        """Note a call; threads count with the stack that they have themselves."""
        file = frame.f_code.co_filename
        if event != "call" or not file.startswith(HOUSE):
            return
        self.files.add(file.removeprefix(HOUSE))
        stack, at = [file], frame.f_back
        while at:
            stack += [at.f_code.co_filename] if at.f_code.co_filename.startswith(HOUSE) else []
            at = at.f_back
        self.depth = max(self.depth, len(stack))
        generated = frame.f_code.co_flags & CO_GENERATOR  # each value is a call event
        if len(stack) > 1 and stack[1] != file and not generated:
            self.crossings += 1
            name = f"{file.removeprefix(HOUSE)}:{frame.f_code.co_qualname}"
            self.calls[name] = self.calls.get(name, 0) + 1


def traced(act: Callable[[], Any]) -> Trace:
    """Do something, on this thread and on those that it starts, and return what it ran through."""
    trace = Trace()
    threading.setprofile(trace)
    sys.setprofile(trace)
    try:
        act()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return trace
