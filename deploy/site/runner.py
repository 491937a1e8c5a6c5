"""Perform steps one after the other, each written down before and after."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TypeVar

from deploy.core import console
from deploy.site.step import Journaled, Step

R = TypeVar("R", bound=Journaled)


def execute(run: R, steps: Iterable[Step[R]]) -> None:
    """Perform each step; the journal says what was begun and what was done. Raise OpsError when one fails."""
    target = run.target
    for step in steps:
        name = step.name
        run.note(step=name, state="begin", target=target, details=asdict(step))
        with console.step(str(step), within=step.limit(run.settings)):
            verdict = step.perform(run)
        run.note(step=name, state="done", target=target, **({"verdict": verdict} if verdict else {}))
