"""The outcome of a deploy or a rollback, as hooks, notifications and CI's summary have it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Event:
    """One command on one environment, before it changed anything (`begins`) or after."""

    command: str  # deploy or rollback
    outcome: Literal["begins", "in service", "unchanged", "failed", "interrupted"]
    release: str = ""  # empty when it failed before there was one
    commit: str = ""
    before: str = ""  # the release that served when it began; empty at the first deploy
    serves: str = ""  # what serves now, in words
    who: str = ""
    seconds: float = 0
    error: str = ""
    then: str = ""  # the next command
    warning: str = ""  # it serves, and yet: a hook after it failed

    @property
    def bad(self) -> bool:
        """Tell whether somebody should look."""
        return self.outcome in ("failed", "interrupted") or bool(self.warning)
