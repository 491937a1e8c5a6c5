"""BookReader's own migrations on its PostgreSQL, while it is used: what the gate stops, and what it lets through."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests import load
from tests.support.site import Site, docker, make_bookreader

VERSIONS = "backend/migrations/versions"
REVISION = '''"""{title}.
{mark}
Revision ID: {id}
"""

from alembic import op

revision, down_revision, branch_labels, depends_on = "{id}", "{parent}", None, None
{override}

def upgrade() -> None:
    """Do it."""
    op.execute("{sql}")
'''
SAFE = "ALTER TABLE notes ADD COLUMN colour text"
UNSAFE = "ALTER TABLE notes ADD COLUMN luck double precision DEFAULT random()"
ALLOWED = "# migrate: allow adding-field-with-default owner=ann until=2999-12-31 reason=the table is small"
ROWS = 1_000_000 if os.environ.get("NIGHTS") else 20_000
READERS = load.Scenario(
    kinds=("get", "new", "post"), paths=("/api/books", "/api/version"), connections=4, rate=60, new_rate=10,
    post_rate=5, minimums={"get": 100, "post": 10},
)  # fmt: skip


@pytest.fixture(scope="module")
def shelf(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """BookReader with a release in service.

    One of its own in the nights, which leave it other revisions and releases.
    """
    if not os.environ.get("NIGHTS"):
        yield request.getfixturevalue("bookreader")
        return
    site = make_bookreader(tmp_path_factory.mktemp("shelf"))
    site.name_images()
    site.extra["OPS_ROLLOUT__HEALTHY_WITHIN"] = "240"  # 60 s are for a quiet machine
    site.inv("deploy")
    yield site
    site.sweep()


def add(site: Site, number: int, sql: str, *, override: str = "", mark: str = "") -> None:
    """Add a revision to the checkout."""
    words = {"id": f"{number:04}", "parent": f"{number - 1:04}", "title": f"Revision {number}", "sql": sql}
    site.write(
        f"{VERSIONS}/{number:04}.py", REVISION.format(**words, override=override, mark=f"\n{mark}\n" if mark else "")
    )
    site.commit(f"revision {number}")


def drop(site: Site, number: int) -> None:
    """Take a revision out of the checkout again."""
    (site.root / f"{VERSIONS}/{number:04}.py").unlink()
    site.commit(f"without revision {number}")


def sql(site: Site, words: str) -> str:
    """Ask the site's PostgreSQL."""
    line = ["psql", "--host=/var/run/postgresql", "--username=bookreader", "-qtAc", words, "bookreader"]
    return docker("exec", f"{site.app}-local-postgres-1", *line).strip()


def at(site: Site) -> str:
    """The database's revision."""
    return sql(site, "SELECT version_num FROM alembic_version")


def after(site: Site) -> int:
    """The number of a revision that comes after the database's."""
    return int(at(site)) + 1


def newest(site: Site) -> tuple[str, str]:
    """The id of the newest recovery point, and its revision; empty where there is none."""
    return next(((point["id"], point["revision"]) for point in site.inv("backup.list", "--json").document), ("", ""))


@contextmanager
def reading(site: Site, seconds: int) -> Iterator[None]:
    """Somebody's report reads the notes, in one transaction that does not end."""
    words = "; ".join(["BEGIN", "SELECT count(*) FROM notes", f"SELECT pg_sleep({seconds})"])
    line = ["psql", "--host=/var/run/postgresql", "--username=bookreader", "-qtAc", words, "bookreader"]
    report = subprocess.Popen(
        ["docker", "exec", f"{site.app}-local-postgres-1", *line], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        sql(
            site,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()",
        )
        report.wait(30)


def passed(report: load.Report) -> None:
    assert report.verdict == load.PASS, f"{report.reasons}\n{report.losses}\n{report.table()}"


def test_a_safe_migration_of_many_rows_loses_no_request(shelf: Site) -> None:
    """It is seen by `inv migrate.status`, and done by `inv migrate` while the old code serves.

    In the nights also that a release which brings it is deployed over it, and gone back past.
    """
    rows = "INSERT INTO notes (id, text) SELECT gen_random_uuid(), 'a note' FROM generate_series(1, {})"
    sql(shelf, rows.format(ROWS))
    serving = shelf.inv("status", "--json").document["release"]
    before = newest(shelf)
    add(shelf, 4, SAFE)
    with load.during(shelf.url, READERS) as clients:
        status = shelf.inv("migrate.status", "--json").document
        assert (status["revision"], status["pending"], status["heads"]) == ("0003", ["0004"], ["0004"])
        assert newest(shelf) == before
        # the site's drill restored a point that is young enough, but for this setting
        migrated = shelf.inv("migrate", "--json", OPS_BACKUP__MAX_AGE_HOURS="0").document
        assert migrated == {"revision": "0004"}
        point, revision = newest(shelf)
        assert (point != before[0], revision) == (True, "0003"), "taken before"
        assert shelf.inv("status", "--json").document["release"] == serving
        assert shelf.inv("migrate.status", "--json").document["pending"] == []
        if os.environ.get("NIGHTS"):
            release = shelf.inv("deploy", "--json").document["release"]
            assert shelf.inv("rollback", "--json").document["release"] == serving != release
        passed(clients.report())
    assert at(shelf) == "0004"


def test_an_unsafe_migration_is_stopped_before_anything_changes(shelf: Site) -> None:
    add(shelf, 5, UNSAFE)
    before = at(shelf), shelf.inv("history", "--json").document, (shelf.state / "journal.jsonl").read_text()
    stopped = shelf.inv("deploy", "--json", code=3).document
    assert (stopped["slug"], stopped["code"]) == ("migration-unsafe", 3)
    assert "adding-field-with-default" in stopped["error"]
    assert "inv migrate.lint" in stopped["next"]
    checks = shelf.inv("migrate.lint", "--json", code=3).document
    assert [check["result"] for check in checks if check["asked"] == "revision 0005"] == ["FAIL"]
    assert before == (at(shelf), shelf.inv("history", "--json").document, (shelf.state / "journal.jsonl").read_text())
    drop(shelf, 5)


@pytest.mark.night
def test_one_that_an_override_lets_through_waits_two_seconds_for_its_lock_and_names_who_has_it(shelf: Site) -> None:
    add(shelf, 5, UNSAFE, override=ALLOWED)
    with load.during(shelf.url, READERS) as clients:
        with reading(shelf, 120):
            failed = shelf.inv("migrate", "--json", code=1).document
        passed(clients.report())
    assert failed["slug"] == "migration-blocked"
    assert "pg_sleep(120)" in failed["error"]
    assert at(shelf) == "0004"
    assert shelf.inv("migrate", "--json").document == {"revision": "0005"}
    # a clone of an older point would be migrated by this one too, and FAIL: of a million rows it takes seconds
    shelf.inv("backup")


def test_a_transaction_that_is_too_old_is_named(shelf: Site) -> None:
    number = after(shelf)
    add(shelf, number, "ALTER TABLE notes ADD COLUMN place text")
    with reading(shelf, 60):
        stopped = shelf.inv("migrate", "--json", code=3, OPS_MIGRATE__OLDEST_TRANSACTION="0.5").document
    assert "pg_sleep(60)" in stopped["error"]
    assert after(shelf) == number
    drop(shelf, number)


def test_a_contract_waits_until_no_kept_release_needs_what_it_takes_away(shelf: Site) -> None:
    number = after(shelf)
    add(shelf, number, "ALTER TABLE notes DROP COLUMN colour", mark="contract")
    stopped = shelf.inv("migrate", "--json", code=3).document
    assert "contract-needed" in stopped["error"]
    assert after(shelf) == number
    drop(shelf, number)


def test_a_clone_shows_that_the_release_which_serves_cannot_read_the_new_schema(shelf: Site) -> None:
    number = after(shelf)
    add(shelf, number, "ALTER TABLE books RENAME TO volumes", mark="contract")
    before = at(shelf), shelf.get("/api/books")
    checks = {check["asked"]: check for check in shelf.inv("migrate.check", "--json", code=3).document}
    results = {asked: check["result"] for asked, check in checks.items()}
    revisions = [asked for asked in results if asked.startswith("revision ")]  # those that the newest point lacks
    assert revisions[-1] == f"revision {number:04}"
    assert results == {
        "rows": "PASS",
        **dict.fromkeys(revisions, "PASS"),
        "current release starts": "PASS",
        "current release's smoke": "FAIL",
    }
    assert "books" in checks["current release's smoke"]["evidence"]
    assert (at(shelf), shelf.get("/api/books")) == before
    drop(shelf, number)


@pytest.mark.night
def test_a_migration_that_was_interrupted_is_gone_on_with(shelf: Site) -> None:
    """An index that a failed build left is dropped on the way."""
    number = after(shelf)
    add(shelf, number, "ALTER TABLE notes ADD COLUMN place text")
    with pytest.raises(subprocess.CalledProcessError):
        sql(shelf, "CREATE UNIQUE INDEX CONCURRENTLY notes_text ON notes (text)")
    shelf.killed(0, "begin", "migrate")
    assert "inv resume" in shelf.inv("deploy", code=5).stderr
    assert shelf.inv("resume", "--json").document == {"revision": f"{number:04}"}
    assert sql(shelf, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == "0"
