"""Which migrations the database has, and which code can work on them, whatever tool migrates. Pure.

An app's `migrations` command prints those that its code knows. The database's are these and all that it had before, for
nothing takes a migration back. Each remembers with which of the schema's revisions it came, so that a release, whose
revision the ledger has, lacks those that came later: it fits where each of them is marked compatible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from deploy.core.model import Migration, Schema

MARK = "compatible"


def parse(printed: str) -> dict[str, bool]:
    """Read a line for each migration, `NAME` or `NAME compatible`: whether it is marked, by name.

    Raises ValueError, which says what is wrong, for any other line, and where there is none.
    """
    lines = [line.split() for line in printed.splitlines() if line.strip()]
    for words in lines:
        if words[1:] not in ([], [MARK]):
            raise ValueError(f"`{' '.join(words)[:80]}` is neither NAME nor NAME {MARK}")
    if not lines:
        raise ValueError("it printed no migration")
    return {words[0]: words[1:] == [MARK] for words in lines}


def migrated(before: Schema | None, listed: dict[str, bool], release: str) -> Schema:
    """Return what the schema is once a release has migrated it; its code has these migrations."""
    had = before.migrations if before and before.revision in revisions(before.migrations) else ()
    names = {migration.name for migration in had}
    new = [name for name in listed if name not in names]
    revision = name_revision(new[-1], [*names, *listed]) if new else had[-1].since
    kept = [one.model_copy(update={"compatible": listed.get(one.name, one.compatible)}) for one in had]
    added = [Migration(name=name, compatible=listed[name], since=revision) for name in new]
    migrations = (*kept, *added)
    fitting = [since for since in revisions(migrations) if not unfit(migrations, since)]
    return Schema(revision=revision, serves=tuple(reversed(fitting)), release=release, migrations=migrations)


def name_revision(last: str, names: Iterable[str]) -> str:
    """Name a set of migrations by the last that came and a hash of all."""
    return f"{last}-{hashlib.sha256(' '.join(sorted({*names})).encode()).hexdigest()[:6]}"


def revisions(migrations: Iterable[Migration]) -> tuple[str, ...]:
    """Return the schema's revisions, oldest first."""
    return tuple(dict.fromkeys(migration.since for migration in migrations))


def unfit(migrations: Sequence[Migration], revision: str) -> tuple[str, ...]:
    """Name the migrations that came after a revision and are not marked compatible: its code cannot work on them."""
    last = max((at for at, one in enumerate(migrations) if one.since == revision), default=-1)
    return tuple(one.name for one in migrations[last + 1 :] if not one.compatible)
