"""Jobs that may migrate a database of which nothing lists the migrations are named at plan and at rollback."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deploy.core.model import Deploy, ReleasedService
from deploy.rollout.reversible import warn_of_unmanaged_migrations
from deploy.rollout.unmanaged import unmanaged_migrations

DATABASE = {"role": "data", "port": 5432, "backup": "dump"}
PRESTART = {"role": "job", "run": "before_switch"}


def services(**blocks: dict[str, Any]) -> tuple[ReleasedService, ...]:
    return tuple(ReleasedService(name=name, image="i", deploy=Deploy(**block)) for name, block in blocks.items())


@pytest.mark.parametrize(
    ("blocks", "named"),
    [
        ({"db": DATABASE, "prestart": PRESTART}, "prestart"),
        ({"db": DATABASE, "prestart": PRESTART, "seed": PRESTART}, "prestart, seed"),
        ({"db": {"role": "data", "port": 5432}, "prestart": PRESTART}, "prestart"),
        ({"cache": {"role": "data", "port": 6379}, "prestart": PRESTART}, ""),
        ({"db": DATABASE, "static": {**PRESTART, "on_rollback": True}}, ""),
        ({"db": DATABASE, "by hand": {"role": "job"}}, ""),
        ({"db": {**DATABASE, "backup": "none"}, "prestart": PRESTART}, ""),
        ({"db": DATABASE, "prestart": PRESTART, "web": {"role": "web", "port": 80, "migrations": ("list",)}}, ""),
        ({"db": DATABASE, "prestart": PRESTART, "web": {"role": "web", "port": 80, "migrate": ("up",)}}, ""),
    ],
    ids=[
        "a job",
        "two",
        "not said to be saved",
        "no database",
        "runs on a rollback too",
        "run by hand",
        "no dump",
        "listed",
        "migrated",
    ],
)
def test_jobs_that_may_migrate(blocks: dict[str, dict[str, Any]], named: str) -> None:
    assert unmanaged_migrations(services(**blocks)) == named


def test_a_rollback_says_that_nothing_shows_whether_the_schema_fits(capsys: pytest.CaptureFixture[str]) -> None:
    live = SimpleNamespace(id="r2", services=services(db=DATABASE, prestart=PRESTART))
    run: Any = SimpleNamespace(serving_release=live, release=SimpleNamespace(id="r1"))
    fleet: Any = SimpleNamespace(runs=(run,))
    warn_of_unmanaged_migrations(fleet)
    assert "prestart of release r2 may have migrated the database" in capsys.readouterr().err
