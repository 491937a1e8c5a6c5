"""What `inv migrate.check` makes of the locks that were seen; the whole of it runs in integration/test_migrations.py."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deploy.core.errors import OpsError
from deploy.database import held
from deploy.database.held import Held
from deploy.rollout.migration_check import Clone, timed

LOOKS = """Mon Nov 30 09:12:38 2026 (every 0.1s)

lock|notes|AccessExclusiveLock|100.0
lock|books|ShareLock|100.0
lock|notes|AccessExclusiveLock|102.5
FATAL:  terminating connection due to administrator command
"""


def test_a_lock_was_held_from_the_first_look_to_the_last() -> None:
    assert [str(one) for one in held.read(LOOKS)] == [
        "AccessExclusiveLock on notes for 2.6 s",
        "ShareLock on books for 0.1 s",
    ]
    assert held.read("") == []


def clone(monkeypatch: pytest.MonkeyPatch, seconds: float, *, fails: bool = False) -> Clone:
    """Make a clone whose migration holds a lock for so long."""

    @contextmanager
    def watched(_: object, name: str) -> Iterator[list[Held]]:
        assert name == "inv-migrate"
        yield [Held("notes", "AccessExclusiveLock", seconds)]

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
