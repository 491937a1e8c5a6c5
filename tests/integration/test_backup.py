"""Recovery points of BookReader's own PostgreSQL: taken, lost data brought back, killed half way, damaged."""

from __future__ import annotations

import fcntl
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.backups import schedule
from deploy.backups.repository import repository_of
from deploy.config.environment import enter
from deploy.core.poll import wait_until
from tests.support.site import Site, docker, make_bookreader

BOOK = """WITH book AS (
  INSERT INTO books (id, title, file_name, state, progress, bytes, sha256, attempts)
  VALUES (gen_random_uuid(), 'TITLE', 'f.txt', 'ready', 100, 1, '', 0) RETURNING id)
INSERT INTO chapters SELECT id, 1, 'One', 'He ran.' FROM book"""
FEW: Any = {
    f"OPS_BACKUP__KEEP_{what}": number
    for what, number in (("DAYS", "0"), ("WEEKS", "0"), ("MONTHS", "0"), ("LEAST", "1"))
}
SWAP = 2  # of the steps of a restore: beside, check, swap, remember the schema


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """BookReader with a release in service, and a book on its shelf."""
    site = make_bookreader(tmp_path_factory.mktemp("shelf"))
    site.inv("deploy")
    put(site, "Fox")
    yield site
    site.sweep()


def put(site: Site, title: str) -> None:
    """Put a parsed book on the shelf."""
    sql(site, BOOK.replace("TITLE", title))


def sql(site: Site, words: str, database: str = "bookreader") -> str:
    """Ask the site's PostgreSQL."""
    name = f"{site.app}-local-postgres-1"
    line = ["psql", "--host=/var/run/postgresql", "--username=bookreader", "-qtAc", words, database]
    return docker("exec", name, *line).strip()


def titles(site: Site) -> list[str]:
    """The shelf as a visitor sees it; empty while the app does not answer."""
    status, body = site.get("/api/books")
    return sorted(book["title"] for book in json.loads(body)) if status == 200 else [f"{status}: {body}"]


def taken(site: Site) -> dict[str, Any]:
    """Take a recovery point."""
    return dict(site.inv("backup", "--json").document)


def states(site: Site) -> dict[str, str]:
    """The state of each recovery point."""
    return {point["id"]: point["state"] for point in site.inv("backup.list", "--json").document}


def test_what_was_lost_comes_back_and_the_database_before_is_kept(shelf: Site) -> None:
    sql(shelf, "CREATE ROLE reader; CREATE ROLE clerk; CREATE ROLE ann; GRANT reader TO clerk; GRANT clerk TO ann")
    sql(shelf, "ALTER DATABASE bookreader SET search_path = public, pg_catalog")
    point = taken(shelf)
    assert point["manifest"]["rows"]["public.books"] == len(titles(shelf))
    assert point["not_backed_up"] == []
    assert states(shelf)[point["id"]] == "taken"
    assert shelf.inv("backup.verify", point["id"], "--json").document[0]["state"] == "read"

    put(shelf, "Later")
    sql(shelf, "DELETE FROM books WHERE title = 'Fox'")
    sql(shelf, "DROP ROLE ann, clerk, reader")
    assert titles(shelf) == ["Later"]
    kept = shelf.inv("backup.restore", point["id"], "--json").document["kept"]
    assert wait_until(lambda: titles(shelf) == ["Fox"], 10), titles(shelf)
    assert sql(shelf, "SELECT title FROM books", kept) == "Later", "nothing of the database before is lost"
    member = "SELECT pg_has_role('ann', 'reader', 'MEMBER')"
    assert (sql(shelf, member), sql(shelf, "SHOW search_path")) == ("t", "public, pg_catalog")


@pytest.mark.parametrize(("state", "way_out"), [("begin", "resume"), ("done", "abort")])
def test_killed_at_the_swap_one_of_the_two_serves_and_the_way_out_leads_on(
    shelf: Site, state: str, way_out: str
) -> None:
    point = taken(shelf)["id"]
    put(shelf, f"After {state}")
    before = titles(shelf)
    after = [title for title in before if title != f"After {state}"]
    assert shelf.killed(SWAP, state, "backup.restore", point) == "SwapDatabases"
    assert wait_until(lambda: titles(shelf) in (before, after), 10), titles(shelf)
    refused = shelf.inv("deploy", code=5).stderr
    assert "restore of" in refused
    assert "inv resume" in refused
    shelf.inv(way_out)
    assert wait_until(lambda: titles(shelf) == (before if way_out == "abort" else after), 10), titles(shelf)


def test_a_backup_that_lost_what_the_one_before_had_is_no_success(shelf: Site) -> None:
    crowd = "INSERT INTO crowd SELECT generate_series(1, 20)"
    sql(shelf, f"CREATE TABLE crowd (id int); {crowd}")
    taken(shelf)
    sql(shelf, "DELETE FROM crowd")
    failed = shelf.inv("backup", code=1)
    assert "public.crowd is empty, and had 20 rows before" in failed.stderr
    assert "suspect" in states(shelf).values()
    sql(shelf, crowd)


def test_a_damaged_repository_is_seen_and_nothing_is_swapped(shelf: Site) -> None:
    put(shelf, "Owl")
    before = titles(shelf)
    point = taken(shelf)["id"]
    volume = Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", f"{shelf.app}-local_backups").strip())
    whole = {path: path.read_bytes() for path in (volume / "data").rglob("*") if path.is_file()}
    for path, data in whole.items():
        path.chmod(0o600)
        path.write_bytes(data[: len(data) // 2])
    try:
        assert shelf.inv("backup.verify", point, code=1).stderr
        failed = shelf.inv("backup.restore", point, code=1)
        assert "restore failed" in failed.stderr
        assert titles(shelf) == before
    finally:
        for path, data in whole.items():
            path.write_bytes(data)
    assert shelf.inv("backup.verify", point, "--json").document[0]["state"] == "read"


def test_the_script_of_the_schedule_takes_the_same_point_and_reports_it(
    shelf: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in shelf.environment.items():
        monkeypatch.setenv(name, value)
    put(shelf, "Night")
    script = shelf.state / schedule.SCRIPT
    script.write_text(schedule.render(repository_of(enter("local")), shelf.state))
    before = states(shelf)
    subprocess.run(["sh", str(script), "lock.dump"], check=True, capture_output=True, timeout=120)
    new = states(shelf).keys() - before.keys()
    assert len(new) == 1
    assert "taken" in {shelf.inv("backup.list", "--json").document[0]["state"]}
    metrics = (shelf.state / "metrics" / "backup.prom").read_text()
    assert f'ops_backup_last_exit_code{{app="{shelf.app}-local"}} 0' in metrics

    with (shelf.state / "lock.dump").open() as lock:  # a backup that runs, or a migration
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused = subprocess.run(["sh", str(script), "lock.dump"], capture_output=True, text=True, timeout=60)
    assert refused.returncode == 4


def test_what_is_kept_is_what_the_settings_say_and_the_restored_one_stays(shelf: Site) -> None:
    there = list(states(shelf))
    assert "--yes" in shelf.inv("backup.prune", code=2, **FEW).stderr
    assert list(states(shelf)) == there
    pruned = shelf.inv("backup.prune", "--yes", "--json", **FEW).document
    assert [*states(shelf)] == [one for one in there if one in pruned["kept"]]
    assert there[0] in pruned["kept"]
    assert len(pruned["removed"]) == len(there) - len(pruned["kept"]) > 0
