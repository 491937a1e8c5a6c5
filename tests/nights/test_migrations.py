"""More of BookReader's migrations, and an app that migrates by files of plain SQL.

What takes too long for every push.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from deploy.core.poll import wait_until
from tests.integration.test_migrations import VERSIONS, add, at, drop, shelf, sql
from tests.support.site import ROOT, Site, make_template

__all__ = ["shelf"]  # the fixture

APPLY = """#!/bin/sh
# Usage: sh /prestart
# Applies the files of plain SQL that the database has not got yet, in the order of their names.
set -eu
export PGPASSWORD="${POSTGRES_PASSWORD:?the password of the database role}"
run() { psql --no-psqlrc --quiet --tuples-only --set ON_ERROR_STOP=1 "$@"; }
run --command="CREATE TABLE IF NOT EXISTS applied (name text PRIMARY KEY)"
cd /migrations
for file in *.sql; do
  if [ -z "$(run --command="SELECT 1 FROM applied WHERE name = '$file'")" ]; then
    run --single-transaction --file="$file" --command="INSERT INTO applied VALUES ('$file')"
  fi
done
"""
OUTSIDE = """    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE notes ADD COLUMN IF NOT EXISTS place text")
        op.execute("CREATE UNIQUE INDEX CONCURRENTLY IF NOT EXISTS twins_name ON twins (name)")"""
LOOP = (
    "for f in *.sql; do read first < $$f; case $$first in --*compatible) echo $$f compatible;; *) echo $$f;; esac; done"
)
LISTED = f'["sh", "-c", "cd /migrations; {LOOP}"]'


def test_what_cannot_be_rendered_is_unknown(shelf: Site) -> None:  # the fixture
    """A revision that asks the database."""
    add(shelf, 4, "SELECT 1", override="if True:\n    op_bind = op\n")
    path = f"{VERSIONS}/0004.py"
    shelf.replace(path, 'op.execute("SELECT 1")', 'op.get_bind().execute("SELECT 1").all()')
    shelf.commit("a revision that asks the database")
    checks = shelf.inv("migrate.lint", "--json", code=3).document
    assert [check["result"] for check in checks if check["asked"] == "revision 0004"] == ["UNKNOWN"]
    drop(shelf, 4)


def test_two_heads_are_refused(shelf: Site) -> None:  # the fixture
    """Two heads."""
    add(shelf, 4, "ALTER TABLE notes ADD COLUMN place text")
    text = (shelf.root / f"{VERSIONS}/0004.py").read_text()
    shelf.write(f"{VERSIONS}/0005.py", text.replace('"0004", "0003"', '"0005", "0003"').replace("place", "time"))
    shelf.commit("two heads")
    checks = {check["asked"]: check["result"] for check in shelf.inv("migrate.lint", "--json", code=3).document}
    assert checks["one head"] == "FAIL"
    (shelf.root / f"{VERSIONS}/0005.py").unlink()
    drop(shelf, 4)


def test_two_operators_who_migrate(shelf: Site) -> None:
    """A second operator migrates, deploys and restores while the first one's migration runs."""
    add(shelf, 4, "SELECT pg_sleep(20)")
    argv = [sys.executable, "-m", "invoke", "migrate"]
    with subprocess.Popen(argv, cwd=ROOT, env=shelf.environment, stdin=subprocess.DEVNULL) as first:
        asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
        assert wait_until(lambda: sql(shelf, asleep) == "1", 60)
        for second in ("migrate", "deploy"):
            refused = shelf.inv(second, "--json", code=4).document
            assert (second, refused["slug"]) == (second, "lock-held")
        assert sql(shelf, asleep) == "1", "one migration runs, and it was not disturbed"
        assert first.wait(60) == 0
    assert at(shelf) == "0004"
    shelf.inv("migrate")
    sql(shelf, "UPDATE alembic_version SET version_num = '0003'")
    drop(shelf, 4)


def test_a_revision_that_fails_half_way_outside_a_transaction(shelf: Site) -> None:
    """The first statement of a revision is committed, and the index that the second one builds fails half way."""
    sql(shelf, "CREATE TABLE twins (name text); INSERT INTO twins VALUES ('a'), ('a')")
    add(shelf, 4, "SELECT 1")
    path = shelf.root / f"{VERSIONS}/0004.py"
    path.write_text(path.read_text().replace('    op.execute("SELECT 1")', OUTSIDE))
    shelf.commit("a revision outside a transaction")
    serving = shelf.inv("status", "--json").document["release"]
    failed = shelf.inv("deploy", "--json", code=1).document
    assert "could not create unique index" in failed["error"]
    assert shelf.inv("status", "--json").document["release"] == serving
    assert shelf.get("/api/books")[0] == 200
    assert at(shelf) == "0003"
    invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
    assert sql(shelf, invalid) == "1", "the half-built index"
    sql(shelf, "DELETE FROM twins WHERE ctid = '(0,2)'")
    shelf.inv("deploy")
    assert (at(shelf), sql(shelf, invalid)) == ("0004", "0")
    sql(shelf, "DROP TABLE twins; ALTER TABLE notes DROP COLUMN place; UPDATE alembic_version SET version_num = '0003'")
    drop(shelf, 4)


def test_the_way_back_of_an_app_with_files_of_plain_sql(tmp_path: Path) -> None:
    """Its own job migrates: back between the same migrations and past a compatible one.

    Past another a person decides.
    """
    site = make_template(tmp_path)
    try:
        site.write("prestart/prestart", APPLY)
        site.replace(
            "docker/prestart.Dockerfile",
            "COPY prestart /prestart",
            "COPY prestart /prestart\nCOPY migrations /migrations",
        )
        site.replace(
            "docker/compose.yml",
            "{role: job, run: before_switch}",
            f"{{role: job, run: before_switch, migrations: {LISTED}}}",
        )
        releases = [
            sql_release(site, 1, "CREATE TABLE books (title text, author text);"),
            sql_release(site, 2, "-- compatible\nALTER TABLE books ADD COLUMN year int;"),
            sql_release(site, 3, "ALTER TABLE books DROP COLUMN author;"),
        ]
        site.write("backend/app.py", (site.root / "backend/app.py").read_text() + "# the same migrations\n")
        site.commit("no migration")
        site.inv("deploy")
        assert site.inv("rollback", "--json").document["release"] == releases[2]
        refused = site.inv("rollback", "--json", code=2).document
        assert (refused["slug"], "3.sql" in refused["error"], "2.sql" in refused["error"]) == (
            "schema-does-not-fit",
            True,
            False,
        )
        reason = "--schema-fits=nothing reads the author"
        assert site.inv("rollback", "--json", reason).document["release"] == releases[1]
        assert site.inv("history", "--json").document[0]["schema_fits"] == "nothing reads the author"
    finally:
        site.sweep()


def sql_release(site: Site, number: int, text: str) -> str:
    """Deploy the app with one more migration; past the second go back, and come again."""
    site.write(f"prestart/migrations/{number}.sql", text)
    site.commit(f"migration {number}")
    before = site.inv("status", "--json", code=None)
    release = str(site.inv("deploy", "--json").document["release"])
    if number == 2:
        back = site.inv("rollback", "--json").document["release"]
        assert back == before.document["release"]
        site.inv("rollback", "--json", f"--to={release}")
    return release
