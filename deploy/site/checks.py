"""What a check came to: PASS, FAIL or UNKNOWN, by what evidence, and the next command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from deploy.core import console
from deploy.core.errors import GateClosed, acting

Result = Literal["PASS", "FAIL", "UNKNOWN"]


@dataclass(frozen=True)
class Check:
    """One thing that was checked; FAIL of one that is advice closes no gate, UNKNOWN always does."""

    asked: str
    result: Result
    evidence: str = ""
    then: str = ""
    advice: bool = False

    @property
    def closes(self) -> bool:
        """Tell whether a gate is closed by it."""
        return self.result == "UNKNOWN" or (self.result == "FAIL" and not self.advice)

    @property
    def word(self) -> str:
        """What the table calls its result."""
        return "advice" if self.advice and self.result == "FAIL" else self.result

    @property
    def document(self) -> dict[str, object]:
        """The check for programs."""
        return {
            "asked": self.asked,
            "result": self.result,
            "advice": self.advice,
            "evidence": self.evidence,
            "next": self.then,
        }


def show(checks: Sequence[Check], env: str, *, json: bool) -> None:
    """Show checks, with commands for their environment; raise GateClosed, exit 3, when one of them closes a gate."""
    checks = [replace(check, evidence=acting(check.evidence, env), then=acting(check.then, env)) for check in checks]
    if json:
        console.document([check.document for check in checks])
    else:
        rows = [[check.word, check.asked, check.evidence, check.then] for check in checks]
        console.table(["", "checked", "evidence", "next"], rows)
    require_open(checks, documented=json)


def require_open(checks: Sequence[Check], *, documented: bool = False) -> None:
    """Raise GateClosed, exit 3, when a check closes a gate."""
    closing = [f"{check.asked} is {check.result}" for check in checks if check.closes]
    if closing:
        raise GateClosed(f"not ready: {', '.join(closing)}", then="the commands in the table", documented=documented)
