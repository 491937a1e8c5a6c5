"""What was received of the WAL, after the database, the receiver, a part of it or the whole host is lost."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from deploy.core.poll import wait_until
from tests.support import vaults
from tests.support.site import ROOT, Site, docker, make_bookreader
from tests.support.streamed import TABLE, Streamed, lost
from tests.support.vaults import Vault

COMPOSE, OURS = "docker/compose.wal.yml", '"docker/compose.backup.yml"'
KILLS, WORST = 20, 2.0  # seconds of acknowledged writes


@pytest.fixture(scope="module")
def vault(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vault]:
    """A server that the end of the host does not reach."""
    with vaults.both(tmp_path_factory.mktemp("vaults")) as made:
        yield made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, vault: Vault) -> Iterator[Site]:
    """BookReader whose WAL is received, and saved elsewhere every other second."""
    made = make_bookreader(tmp_path_factory.mktemp("shelf"))
    secrets = made.root / ".env.local"
    secrets.write_text(secrets.read_text() + vault.secrets)
    made.extra["OPS_BACKUP__OFFSITE"] = vault.bucket.url
    made.replace("deploy/app.toml", OURS, f'{OURS}, "{COMPOSE}"')
    made.replace(COMPOSE, 'WAL_SHIP_SECONDS: "60"', 'WAL_SHIP_SECONDS: "2"')
    made.replace(COMPOSE, "WAL_KEEP_ON_SERVER: 4GB", "WAL_KEEP_ON_SERVER: 32MB")
    made.commit("WAL is received")
    made.extra["OPS_ROLLOUT__HEALTHY_WITHIN"] = "240"  # 60 s are for a quiet machine
    made.inv("deploy")
    yield made
    made.sweep()


@pytest.fixture
def database(site: Site) -> Streamed:
    """The database and its receiver, with a table of ids."""
    made = Streamed(f"{site.app}-local-postgres-1", f"{site.app}-local-wal-1")
    made.sql(TABLE)
    made.await_held()
    return made


def test_twenty_kills_of_the_database_lose_two_seconds_of_writes_at_most(database: Streamed) -> None:
    """The database is killed with -9 under a writer, twenty times; what was received is all that is left."""
    losses = []
    for number in range(KILLS):
        acknowledged = database.killed_while_written(1 + number / KILLS)
        assert acknowledged, "somebody wrote"
        losses.append(lost(acknowledged, database.recovered()))
        database.start()
    assert max(losses) <= WORST, losses
    assert len(database.held()) == 1, "one stretch: the receiver has gone on after each"


def test_a_restore_that_was_killed_is_done_again(site: Site, database: Streamed) -> None:
    """The operator is killed with -9 while the cluster of a moment is made."""
    database.sql("INSERT INTO acknowledged DEFAULT VALUES")
    moment = database.sql("SELECT clock_timestamp()")
    rows = database.sql("SELECT count(*) FROM acknowledged")
    database.sql("DELETE FROM acknowledged")
    database.await_held()
    words = [sys.executable, "-m", "invoke", "backup.restore", f"--at={moment}"]
    with subprocess.Popen(words, cwd=ROOT, env=site.environment, stderr=subprocess.DEVNULL) as operator:
        assert wait_until(lambda: f"{site.app}-local-recovery" in docker("ps", "--format={{.Names}}"), 60)
        operator.kill()
    assert database.sql("SELECT count(*) FROM acknowledged") == "0", "nothing was swapped"
    assert wait_until(lambda: site.inv("backup.restore", f"--at={moment}", code=None).code == 0, 120)
    assert database.sql("SELECT count(*) FROM acknowledged") == rows


def test_a_receiver_that_is_dead_for_long_fills_no_disk_and_begins_anew(site: Site, database: Streamed) -> None:
    """The receiver is dead until its slot may keep no more."""
    before = len(database.held())
    docker("stop", database.receiver)
    moment = database.sql("SELECT clock_timestamp()")
    for _ in range(6):
        database.sql("INSERT INTO acknowledged DEFAULT VALUES; SELECT pg_switch_wal()")
    database.sql("CHECKPOINT")
    assert database.sql("SELECT wal_status FROM pg_replication_slots") == "lost", "the server has let go of it"
    assert "wal" in site.inv("status").stderr
    docker("start", database.receiver)
    assert wait_until(lambda: len(database.held()) == before + 1, 60), database.held()
    database.await_held()
    refused = site.inv("backup.restore", f"--at={moment}", "--json", code=2).document
    assert refused["slug"] == "moment-not-held"
    assert database.held()[0].name in refused["error"]


def test_a_moment_before_a_gap_is_refused_and_the_segment_named(site: Site, database: Streamed) -> None:
    """A segment in the middle of what was received is gone."""
    moment = database.sql("SELECT clock_timestamp()")
    for _ in range(3):
        database.sql("INSERT INTO acknowledged DEFAULT VALUES; SELECT pg_switch_wal()")
    database.await_held()
    newest = database.held()[-1]
    gone = newest.segments[-3][0]
    docker("exec", database.receiver, "rm", f"/wal/stretches/{newest.name}/wal/{gone}")
    rows = database.sql("SELECT count(*) FROM acknowledged")
    refused = site.inv("backup.restore", f"--at={moment}", "--json", code=2).document
    assert refused["slug"] == "moment-not-held"
    assert gone in refused["error"]
    assert database.sql("SELECT count(*) FROM acknowledged") == rows
    bases = [f"/wal/stretches/{newest.name}/base/{one.name}" for one in newest.bases]
    docker("exec", database.receiver, "rm", "--recursive", *bases)
    docker("restart", database.receiver)  # and a base backup is taken, behind the gap
    database.await_held()


def test_with_the_host_gone_what_was_received_comes_from_elsewhere(site: Site, database: Streamed) -> None:
    """Database and received WAL are lost together; a new database and a new receiver are there."""
    site.inv("backup")  # which makes the repository
    stretch = database.held()[-1].name
    database.sql("INSERT INTO acknowledged DEFAULT VALUES")
    database.await_held()
    rows = database.sql("SELECT count(*) FROM acknowledged")
    moment = database.sql("SELECT extract(epoch FROM clock_timestamp())::bigint + 1")
    assert wait_until(lambda: int(shipped(database) or 0) > int(moment), 60)
    for name, volume in ((database.postgres, "postgres"), (database.receiver, "wal")):
        docker("rm", "--force", name)
        docker("volume", "rm", f"{site.app}-local_{volume}")
    site.inv("deploy")
    assert wait_until(lambda: len({one.server for one in database.held()}) > 1, 60), database.held()
    refused = site.inv("backup.restore", "--at=latest", "--json", code=2).document
    assert f"latest:{database.held()[0].name}" in refused["next"]
    site.inv("backup.restore", f"--at=latest:{stretch}")
    assert database.sql("SELECT count(*) FROM acknowledged") == rows


def shipped(database: Streamed) -> str:
    """When all that was received was saved elsewhere last, in seconds; empty for never."""
    lines = docker("exec", database.receiver, "held").splitlines()
    return next((line.split()[1] for line in lines if line.startswith("shipped ")), "")
