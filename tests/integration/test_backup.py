"""Recovery points of BookReader's own PostgreSQL: taken, lost data brought back, killed half way, damaged."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from deploy.backups import schedule
from deploy.backups.repository import repository_of
from deploy.config.environment import enter
from deploy.config.secrets import envfile
from deploy.core.poll import wait_until
from deploy.site.script import write_order
from tests.support import notified, vaults
from tests.support.notified import Receiver
from tests.support.site import Site, docker, make_bookreader, remove_labelled
from tests.support.vaults import Vault

BOOK = """WITH book AS (
  INSERT INTO books (id, title, file_name, state, progress, bytes, sha256, attempts)
  VALUES (gen_random_uuid(), 'TITLE', 'f.txt', 'ready', 100, 1, '', 0) RETURNING id)
INSERT INTO chapters SELECT id, 1, 'One', 'He ran.' FROM book"""
FEW: Any = {
    f"OPS_BACKUP__KEEP_{what}": number
    for what, number in (("DAYS", "0"), ("WEEKS", "0"), ("MONTHS", "0"), ("LEAST", "1"))
}
SWAP = 2  # of the steps of a restore --without-health: beside, check, swap, remember the schema


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """BookReader with a release in service whose WAL is received, and a book on its shelf."""
    site = make_bookreader(tmp_path_factory.mktemp("shelf"))
    site.name_images()
    site.replace(
        "deploy/app.toml", '"docker/compose.backup.yml"', '"docker/compose.backup.yml", "docker/compose.wal.yml"'
    )
    site.commit("WAL is received")
    site.extra["OPS_ROLLOUT__HEALTHY_WITHIN"] = "240"  # 60 s are for a quiet machine
    try:
        site.inv("deploy")
        put(site, "Fox")
        yield site
    finally:
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
    journal = (shelf.state / "journal.jsonl").read_text()
    assert "is healthy on it; Fox: 1 chapters" in journal, "the app has read what was restored, before the swap"
    assert wait_until(lambda: titles(shelf) == ["Fox"], 60), titles(shelf)
    assert sql(shelf, "SELECT title FROM books", kept) == "Later", "nothing of the database before is lost"
    member = "SELECT pg_has_role('ann', 'reader', 'MEMBER')"
    assert (sql(shelf, member), sql(shelf, "SHOW search_path")) == ("t", "public, pg_catalog")


def is_held(site: Site, moment: str) -> bool:
    """Tell whether a moment, as PostgreSQL writes one, can be recovered."""
    return any(first <= datetime.fromisoformat(moment) <= last for first, last in moments(site))


def moments(site: Site) -> list[tuple[datetime, datetime]]:
    """The first and the last moment of each stretch that can be recovered."""
    held = site.inv("status", "--json").document["backup"]["point_in_time"]["held"]
    ends = [(one["from"], one["until"]) for one in held if one["from"]]
    return [(datetime.fromisoformat(first), datetime.fromisoformat(last)) for first, last in ends]


def test_one_table_comes_back_beside_the_live_one_which_nobody_touches(shelf: Site) -> None:
    sql(shelf, "CREATE DATABASE jobs")
    taken_now = taken(shelf)
    assert taken_now["not_backed_up"] == ["database jobs"], "that of the restore before is no other one"
    point = taken_now["id"]
    sql(shelf, "DROP DATABASE jobs")
    put(shelf, "Wolf")
    assert shelf.inv("backup.restore", point, "--table=cats", "--json", code=2).document["slug"] == "table-unknown"
    back = shelf.inv("backup.restore", point, "--table=books", "--json").document
    assert (back["table"], back["rows"]) == ("public.books", 1)
    assert "|Fox|" in sql(shelf, f"TABLE {back['schema']}.books")
    assert sql(shelf, "SELECT title FROM books ORDER BY title").split() == ["Fox", "Wolf"]
    assert not [name for name in sql(shelf, "SELECT datname FROM pg_database").split() if "_table_" in name]
    sql(shelf, f"DROP SCHEMA {back['schema']} CASCADE")
    sql(shelf, "DELETE FROM books WHERE title = 'Wolf'")


def test_a_dump_of_another_host_takes_the_place_of_the_database(shelf: Site, tmp_path: Path) -> None:
    postgres, dump, plain = f"{shelf.app}-local-postgres-1", tmp_path / "old.dump", tmp_path / "old.sql"
    line = ["pg_dump", "--host=/var/run/postgresql", "--username=bookreader", "bookreader"]
    dump.write_bytes(subprocess.run(["docker", "exec", postgres, *line, "-Fc"], check=True, capture_output=True).stdout)
    plain.write_text(docker("exec", postgres, *line))
    (half := tmp_path / "half.dump").write_bytes(dump.read_bytes()[: dump.stat().st_size // 2])
    put(shelf, "Newer")
    for file, words in ((plain, "plain SQL"), (half, "cannot be restored here"), (tmp_path / "none", "No such file")):
        refused = shelf.inv("backup.restore", f"--from={file}", "--json", code=2).document
        assert (refused["slug"], words in refused["error"]) == ("no-dump", True), refused
    assert titles(shelf) == ["Fox", "Newer"]
    kept = shelf.inv("backup.restore", f"--from={dump}", "--without-health", "--json").document["kept"]
    assert wait_until(lambda: titles(shelf) == ["Fox"], 60), titles(shelf)
    assert sql(shelf, "SELECT count(*) FROM books", kept) == "2", "nothing of the database before is lost"


def test_the_database_of_a_moment_comes_back_from_a_base_backup_and_wal(shelf: Site) -> None:
    """What nobody had made a recovery point of: a moment between two commits, told by the server's clock."""
    put(shelf, "Moment")
    before = titles(shelf)
    assert wait_until(lambda: bool(moments(shelf)), 30), "the first base backup"
    moment = sql(shelf, "SELECT clock_timestamp()")
    put(shelf, "Mistake")
    sql(shelf, "DELETE FROM books WHERE title = 'Moment'")
    assert titles(shelf) != before
    assert wait_until(lambda: is_held(shelf, moment), 30), shelf.inv("status", "--json").document["backup"]
    assert "on the host of the data, and lost with it" in shelf.inv("status").stderr

    refused = shelf.inv("backup.restore", "--at=2026-01-01 00:00:00", "--json", code=2).document
    assert refused["slug"] == "moment-not-held"
    assert " to 20" in refused["error"], "the range that is held"
    there = states(shelf)
    kept = shelf.inv("backup.restore", f"--at={moment}", "--json").document["kept"]
    assert wait_until(lambda: titles(shelf) == before, 60), titles(shelf)
    assert sql(shelf, "SELECT count(*) FROM books WHERE title = 'Mistake'", kept) == "1", "the one before is kept"
    assert len(states(shelf).keys() - there.keys()) == 2, "the moment, and a backup of what serves now"


@pytest.mark.parametrize(
    ("state", "way_out"), [("begin", "resume"), pytest.param("done", "abort", marks=pytest.mark.night)]
)
def test_killed_at_the_swap_one_of_the_two_serves_and_the_way_out_leads_on(
    shelf: Site, state: str, way_out: str
) -> None:
    point = taken(shelf)["id"]
    put(shelf, f"After {state}")
    before = titles(shelf)
    after = [title for title in before if title != f"After {state}"]
    assert shelf.killed(SWAP, state, "backup.restore", point, "--without-health") == "SwapDatabases"
    assert wait_until(lambda: titles(shelf) in (before, after), 60), titles(shelf)
    refused = shelf.inv("deploy", code=5).stderr
    assert "restore of" in refused
    assert "inv resume" in refused
    shelf.inv(way_out)
    assert wait_until(lambda: titles(shelf) == (before if way_out == "abort" else after), 60), titles(shelf)


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


@pytest.fixture(scope="module")
def receiver(shelf: Site) -> Iterator[Receiver]:
    """A service that takes notifications, which containers reach."""
    with notified.receiving(vaults.bridge()) as service:
        secrets = shelf.root / ".env.local"
        secrets.write_text(secrets.read_text() + f"NOTIFY_URLS=json://{vaults.bridge()}:{service.server_port}/x\n")
        yield service


@pytest.fixture
def nightly(shelf: Site, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Do what the timer does; return the script's exit code."""
    for name, value in shelf.environment.items():
        monkeypatch.setenv(name, value)
    at = enter("local")
    repository, script = repository_of(at), shelf.state / schedule.SCRIPT
    script.write_text(schedule.render(repository, shelf.state))
    assert (
        write_order(repository.run, schedule.ORDER, "the nightly backup FAILED")
        == "1 address(es) are notified of one that fails"
    )
    return lambda: subprocess.run(["sh", str(script), "lock.dump"], capture_output=True, timeout=120).returncode


def test_the_script_of_the_schedule_takes_the_same_point_and_reports_it(
    shelf: Site, nightly: Callable[[], int], receiver: Receiver
) -> None:
    put(shelf, "Night")
    before = states(shelf)
    assert nightly() == 0
    new = states(shelf).keys() - before.keys()
    assert len(new) == 1
    assert "taken" in {shelf.inv("backup.list", "--json").document[0]["state"]}
    metrics = shelf.state / "metrics" / "backup.prom"
    assert f'ops_backup_last_exit_code{{app="{shelf.app}-local"}} 0' in metrics.read_text()
    assert receiver.taken == []

    with (shelf.state / "lock.dump").open() as lock:  # a backup that runs, or a migration
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert nightly() == 4
    assert "has the lock" in receiver.taken.pop()["message"]


def test_a_night_that_lost_much_is_a_failure_and_people_are_notified_by_the_host(
    shelf: Site, nightly: Callable[[], int], receiver: Receiver
) -> None:
    sql(shelf, "DELETE FROM crowd")
    assert nightly() == 1
    sent = receiver.taken.pop()
    assert (sent["title"], sent["type"]) == (f"{shelf.app}-local: the nightly backup FAILED", "failure")
    assert "next: inv backup.list" in sent["message"]
    metrics = (shelf.state / "metrics" / "backup.prom").read_text()
    assert f'ops_backup_last_suspect{{app="{shelf.app}-local"}} 1' in metrics
    newest, *_ = shelf.inv("backup.list", "--json").document
    assert newest["state"] == "suspect"
    assert newest["evidence"].startswith("public.crowd is empty, and had 20 rows before; ")
    assert newest["evidence"] in sent["message"], "the host judges by the rule of inv backup.list"
    assert nightly() == 1, "a suspect one is no measure"
    receiver.taken.clear()
    sql(shelf, "INSERT INTO crowd SELECT generate_series(1, 20)")
    assert nightly() == 0


def test_what_is_kept_is_what_the_settings_say_and_the_restored_one_stays(shelf: Site) -> None:
    there = list(states(shelf))
    assert "--yes" in shelf.inv("backup.prune", code=2, **FEW).stderr
    assert list(states(shelf)) == there
    pruned = shelf.inv("backup.prune", "--yes", "--json", **FEW).document
    assert [*states(shelf)] == [one for one in there if one in pruned["kept"]]
    assert there[0] in pruned["kept"]
    assert len(pruned["removed"]) == len(there) - len(pruned["kept"]) > 0


@pytest.fixture(scope="module")
def vault(shelf: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """A release whose points go to a real S3 server, and from there to a real SSH server."""
    with vaults.both(tmp_path_factory.mktemp("vaults")) as made:
        secrets = shelf.root / ".env.local"
        secrets.write_text(secrets.read_text() + made.secrets)
        shelf.extra |= made.variables
        volumes = '"backup-staging:/staging"'
        shelf.replace("docker/compose.backup.yml", volumes, f'{volumes}, "uploads:/data/uploads:ro"')
        shelf.replace("docker/compose.backup.yml", "  backup-staging: {}", "  backup-staging: {}\n  uploads: {}")
        shelf.commit("uploads are saved")
        shelf.inv("deploy")
        files(shelf, "echo one >/uploads/one")
        yield made


def files(site: Site, line: str) -> str:
    """Do something with the uploads of the site."""
    volume = f"{site.app}-local_uploads:/uploads"
    return docker("run", "--rm", "--volume", volume, f"{site.app}/backup", "sh", "-c", line).strip()


@pytest.mark.night
def test_a_point_is_in_s3_and_by_sftp_on_another_host_and_is_read_back_from_both(shelf: Site, vault: Vault) -> None:
    put(shelf, "Far")
    before = titles(shelf)
    point = taken(shelf)
    assert point["places"] == ["local", "off-site"]
    (listed,) = shelf.inv("backup.list", "--json").document
    assert (listed["id"], listed["places"]) == (point["id"], ["local", "off-site"])
    assert shelf.inv("backup.verify", "--offsite", "--json").document[0]["state"] == "read"
    assert shelf.inv("status", "--json").document["backup"]["leaves_host"] is True

    put(shelf, "Gone")
    vault.bucket.empty()
    (away,) = shelf.inv("backup.list", "--json").document
    assert (away["id"], away["places"], away["state"]) == (point["id"], ["off-site"], "read")
    shelf.inv("backup.restore", "latest", "--without-health")
    assert wait_until(lambda: titles(shelf) == before, 60), titles(shelf)
    (fetched,) = shelf.inv("backup.list", "--json").document
    assert (fetched["id"], fetched["places"]) == (point["id"], ["local", "off-site"]), "the same point, here again"


def test_the_files_of_a_volume_come_back_and_newer_ones_stay(shelf: Site, vault: Vault) -> None:
    point = taken(shelf)["id"]
    files(shelf, "echo other >/uploads/one; echo two >/uploads/two")
    assert "uploads" in shelf.inv("backup.restore", point, "--volume=avatars", code=2).stderr
    result = shelf.inv("backup.restore", point, "--volume=uploads", "--json").document
    assert files(shelf, "cat /uploads/one /uploads/two") == "one\ntwo"
    assert result["before"] in states(shelf), "what was there before is a point of its own"


def test_off_site_under_another_host_key_gets_nothing_is_no_success_and_the_near_point_stands(
    shelf: Site, vault: Vault, nightly: Callable[[], int], receiver: Receiver
) -> None:
    with vault.another_host_key():
        assert nightly() == 1
        assert "is not off-site" in receiver.taken[-1]["message"]
        failed = shelf.inv("backup.copy", "--json", code=1)
        assert failed.document["slug"] == "offsite-failed"
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in failed.document["error"]
        assert failed.document["next"] == "fix that, then inv backup.copy"
        unasked = shelf.inv("backup.list", "--json", code=1)
        assert unasked.document[0]["places"] == ["local"]
    assert shelf.inv("backup.copy", "--json").document[0]["places"] == ["local", "off-site"]


def test_a_bare_host_serves_again_from_off_site_and_the_escrowed_sheet_alone(
    shelf: Site, vault: Vault, tmp_path: Path
) -> None:
    assert "nobody confirmed" in evidence_of_doctor(shelf)
    sheet = tmp_path / "sheet.json"
    sheet.write_text(shelf.inv("backup.escrow", "--json", "--yes").stdout)
    assert json.loads(sheet.read_text())["secrets"]["RESTIC_PASSWORD"] not in (shelf.state / "escrow.json").read_text()
    assert "host is not bare" in shelf.inv("backup.rebuild", code=2).stderr
    put(shelf, "Last")
    files(shelf, "chown 4711 /uploads")
    before, point = titles(shelf), taken(shelf)["id"]
    release = shelf.inv("status", "--json").document["release"]

    for kind in ("containers", "volumes", "networks"):
        remove_labelled(kind, shelf.app)
    shutil.rmtree(shelf.state)
    vault.bucket.empty()
    before_the_loss = secrets_of(shelf)
    (shelf.root / ".env.local").unlink()
    assert titles(shelf)[0].startswith("0: ")
    assert shelf.inv("backup.rebuild", "--json", code=2).document["slug"] == "escrow-missing"

    rebuilt = shelf.inv("backup.rebuild", f"--escrow={sheet}", "--json").document
    assert rebuilt["release"] == release, "the same release, with the secrets that it had"
    assert wait_until(lambda: titles(shelf) == before, 60), titles(shelf)
    listed, *_ = shelf.inv("backup.list", "--json").document
    assert (listed["id"], listed["places"]) == (point, ["local", "off-site"])
    assert files(shelf, "cat /uploads/one /uploads/two") == "one\ntwo", "the declared volume came back, too"
    assert files(shelf, "stat -c %u /uploads") == "4711", "and is whose it was"
    assert len((shelf.state / "ledger.jsonl").read_text().splitlines()) > 1, "what was deployed before is remembered"
    assert secrets_of(shelf) == before_the_loss, "the secrets file is there again"
    assert "stored" in evidence_of_doctor(shelf)


def secrets_of(site: Site) -> dict[str, str]:
    """What the secrets file of a site holds for the app."""
    values = envfile.values(envfile.parse((site.root / ".env.local").read_text()))
    return {key: value for key, value in values.items() if key != "NOTIFY_URLS"}


def evidence_of_doctor(site: Site) -> str:
    """What doctor says of the escrow."""
    (check,) = [one for one in site.inv("doctor", "--json", code=None).document if "escrow" in one["asked"]]
    return str(check["evidence"])
