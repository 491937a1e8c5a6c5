"""What `inv migrate.check` makes of the locks that were seen.

The whole of it runs in integration/test_migrations.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deploy.core.errors import OpsError
from deploy.core.shell import Result
from deploy.database import held
from deploy.database.held import Held, Looks
from deploy.database.postgres import Database
from deploy.hosts.host import Host
from deploy.rollout.migration_check import Clone, judged, timed
from deploy.site.checks import Check

LOOKS = """Mon Nov 30 09:12:38 2026 (every 0.1s)

look|100.0||
look|100.0|notes|AccessExclusiveLock
look|100.0|books|ShareLock
look|100.1||
look|100.1|notes|AccessExclusiveLock
look|102.5||
look|102.5|notes|AccessExclusiveLock
look|102.6||
look|160.0||
look|160.0|notes|AccessExclusiveLock
FATAL:  terminating connection due to administrator command
"""


def test_a_lock_was_held_through_the_looks_in_a_row_that_saw_it() -> None:
    assert [str(one) for one in held.read(LOOKS)] == [
        "AccessExclusiveLock on notes for 2.6 s",
        "ShareLock on books for 0.1 s",
    ]
    assert held.read("look|100.0||\n") == ()


class Blind:
    """A host whose PostgreSQL lets nobody look."""

    def try_run(self, *_: object, **__: object) -> Result:
        return Result(2, "", "psql: error: FATAL:  sorry, too many clients already")

    def run(self, *_: object, **__: object) -> str:
        return ""


def test_nobody_who_looks_is_no_pass() -> None:
    with held.watched(Database(cast("Host", Blind()), "postgres")) as looks:
        pass
    check = judged(Check("revision r3", "PASS", "0.1 s"), looks, 2)
    assert check.result == "UNKNOWN"
    assert "too many clients" in check.evidence


def clone(monkeypatch: pytest.MonkeyPatch, seconds: float, *, fails: bool = False) -> Clone:
    """Make a clone whose migration holds a lock for so long."""

    @contextmanager
    def watched(_: object) -> Iterator[Looks]:
        yield Looks((Held("notes", "AccessExclusiveLock", seconds),))

    def run(*_: str) -> str:
        if fails:
            raise OpsError("`alembic upgrade r3` ended with 1", slug="migration-failed")
        return ""

    monkeypatch.setattr(held, "watched", watched)
    settings = SimpleNamespace(migrate=SimpleNamespace(lock_timeout=2.0))
    made: Any = SimpleNamespace(database=None, image=SimpleNamespace(run=SimpleNamespace(settings=settings)), run=run)
    return cast("Clone", made)


@pytest.mark.parametrize(("seconds", "result"), [(0.3, "PASS"), (2.6, "FAIL")])
def test_a_lock_that_is_held_longer_than_others_wait_fails(
    monkeypatch: pytest.MonkeyPatch, seconds: float, result: str
) -> None:
    check = timed(clone(monkeypatch, seconds), "revision r3", ("alembic", "upgrade", "r3"))
    assert check.result == result
    assert f"AccessExclusiveLock on notes for {seconds} s" in check.evidence


def test_a_revision_that_fails_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    check = timed(clone(monkeypatch, 0.3, fails=True), "revision r3", ("alembic", "upgrade", "r3"))
    assert (check.result, check.evidence) == ("FAIL", "`alembic upgrade r3` ended with 1")
