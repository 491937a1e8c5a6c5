"""Read what Alembic prints of its revisions, and make the commands that it is asked by. Pure.

A revision whose docstring has a line `contract` takes something away: code of earlier revisions cannot work on the
schema that it leaves. All others only add, so a release of an earlier revision still fits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass

from deploy.core.model import Revision

MARK, BASE = "contract", "<base>"


@dataclass(frozen=True)
class Rendered:
    """One revision as it stands in an image: the SQL that it runs, or why there is none, and its file."""

    revision: Revision
    sql: str = ""
    error: str = ""
    file: str = ""


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
    merges = re.search(r"(?m)^Merges: (.+)", block)
    path = re.search(r"(?m)^Path: (.+)", block)
    return Revision(
        first.split()[1],
        parent[1] if parent else "",
        "(current)" in first,
        any(line.strip().lower() == MARK for line in others),
        "(head)" in first,
        tuple(merges[1].split(", ")) if merges else (),
        path[1] if path else "",
    )


def current(revisions: Iterable[Revision]) -> str | None:
    """Return the revision that the database is at."""
    return next((revision.id for revision in revisions if revision.current), None)


def heads(revisions: Iterable[Revision]) -> tuple[str, ...]:
    """Return the revisions that nothing follows."""
    return tuple(revision.id for revision in revisions if revision.head)


def ancestors(revisions: Iterable[Revision], of: Iterable[str]) -> frozenset[str]:
    """Return some revisions and all that came before them."""
    by_id, found, left = {revision.id: revision for revision in revisions}, set[str](), [*of]
    while left:
        at = left.pop()
        if at in by_id and at not in found:
            found.add(at)
            left += [by_id[at].parent, *by_id[at].merges]
    return frozenset(found)


def pending(revisions: tuple[Revision, ...]) -> tuple[Revision, ...]:
    """Return the revisions that the database has not got yet, oldest first."""
    done = ancestors(revisions, [revision.id for revision in revisions if revision.current])
    return tuple(revision for revision in reversed(revisions) if revision.id not in done)


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


# one container for all, since each costs a second; in Python, which an image with Alembic has, as it may have no shell
PROGRAM = """import json, pathlib, subprocess, sys
alembic, revisions = map(json.loads, sys.argv[2:])
for name, span, path in revisions:
    done = subprocess.run([*alembic, "upgrade", span, "--sql"], capture_output=True, text=True)
    error = f"exit code {done.returncode}: {done.stderr.strip()[-1500:]}" if done.returncode else ""
    file = pathlib.Path(path).read_text() if pathlib.Path(path).is_file() else ""
    print(sys.argv[1] + json.dumps([name, done.stdout, error, file]))
"""


def render_command(migrate: tuple[str, ...], revisions: Iterable[Revision], mark: str) -> tuple[str, ...]:
    """Return the command that prints the SQL and the file of each revision, a line each, which the mark begins."""
    words = migrate[: migrate.index("upgrade")]
    spans = [(one.id, f"{one.parent.replace(BASE, 'base')}:{one.id}", one.path or "/none") for one in revisions]
    return ("python", "-c", PROGRAM, mark, json.dumps(words), json.dumps(spans))


def rendered(printed: str, revisions: Iterable[Revision], mark: str) -> tuple[Rendered, ...]:
    """Read what that command printed; a revision of which nothing was printed has an error."""
    lines = (line.removeprefix(mark) for line in printed.splitlines() if line.startswith(mark))
    found = {name: (sql, error, file) for name, sql, error, file in map(json.loads, lines)}
    return tuple(Rendered(one, *found.get(one.id, ("", "nothing was printed", ""))) for one in revisions)
