"""Reviewed overrides of the gate's rules: a comment in the revision's file, with owner, date and reason. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

LINE = re.compile(r"(?m)^\s*#\s*migrate:(.*)$")
FORM = re.compile(
    r"\s*allow\s+(?P<rule>[\w-]+)\s+owner=(?P<owner>\S+)\s+until=(?P<until>\S+)\s+reason=(?P<reason>.*\S)\s*"
)
EXAMPLE = "# migrate: allow RULE owner=NAME until=YYYY-MM-DD reason=TEXT"


@dataclass(frozen=True)
class Override:
    """One rule that a revision may break, who says so, up to and with which day, and why."""

    rule: str
    owner: str
    until: date
    reason: str

    def __str__(self) -> str:
        return f"{self.rule} allowed by {self.owner} until {self.until}: {self.reason}"


def overrides(file: str, today: date) -> tuple[dict[str, Override], tuple[str, ...]]:
    """Return a file's overrides by rule, and what is wrong with those that count as none."""
    valid, wrong = dict[str, Override](), list[str]()
    for text in LINE.findall(file):
        form = FORM.fullmatch(text)
        try:
            one = (
                Override(form["rule"], form["owner"], date.fromisoformat(form["until"]), form["reason"])
                if form
                else None
            )
        except ValueError:
            one = None
        if one is None:
            wrong.append(f"`# migrate:{text}` is no override; its form is `{EXAMPLE}`")
        elif one.until < today:
            wrong.append(f"the override of {one.rule} by {one.owner} was good until {one.until}")
        else:
            valid[one.rule] = one
    return valid, tuple(wrong)


def unused(valid: dict[str, Override], rules: Iterable[str]) -> tuple[str, ...]:
    """Name the rules that are overridden and not broken."""
    return tuple(rule for rule in valid if rule not in {*rules})
