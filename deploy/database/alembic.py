"""Read what Alembic prints of its revisions. Pure.

A revision whose docstring has a line `contract` takes something away: code of earlier revisions cannot work on the
schema that it leaves. All others only add, so a release of an earlier revision still fits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

MARK = "contract"


@dataclass(frozen=True)
class Revision:
    """One revision: its parent, whether the database is at it, whether it takes something away."""

    id: str
    parent: str
    current: bool
    contract: bool


def history_command(migrate: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the command that lists revisions, made from `[...] alembic [...] upgrade head`; None for another tool."""
    if "upgrade" not in migrate or not any(word.endswith("alembic") for word in migrate):
        return None
    return (*migrate[: migrate.index("upgrade")], "history", "--verbose", "--indicate-current")


def history(printed: str) -> tuple[Revision, ...]:
    """Read `alembic history --verbose --indicate-current`, newest revision first."""
    blocks = re.split(r"(?m)^(?=Rev: )", printed)
    return tuple(revision(block) for block in blocks if block.startswith("Rev: "))


def revision(block: str) -> Revision:
    """Read one revision's block."""
    first, *others = block.splitlines()
    parent = re.search(r"(?m)^Parent: (\S+)", block)
    marked = any(line.strip().lower() == MARK for line in others)
    return Revision(first.split()[1], parent[1] if parent else "", "(current)" in first, marked)


def current(revisions: tuple[Revision, ...]) -> str | None:
    """Return the revision that the database is at."""
    return next((revision.id for revision in revisions if revision.current), None)


def served_by(revisions: tuple[Revision, ...], at: str) -> tuple[str, ...]:
    """Return the code revisions that work on the schema `at` a revision: it, and its parents to the last contract."""
    by_id = {revision.id: revision for revision in revisions}
    fits: list[str] = []
    while at in by_id:
        fits.append(at)
        if by_id[at].contract:
            break
        at = by_id[at].parent
    return tuple(fits)
