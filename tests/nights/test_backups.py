"""Backups of BookReader's own PostgreSQL under faults: disks that are full, locks, wrong clocks and names, interruptions.

A point that is taken, lost data that comes back, a truncated repository and a killed swap are held by
tests/integration/test_backup.py; what is off-site by tests/nights/test_offsite.py.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy.core.poll import wait_until
from tests.integration.test_backup import FEW, put, sql, states, taken, titles
from tests.support.site import ROOT, Site, docker, make_bookreader

SMALL = 24  # MB of a disk that is soon full
STEPS = ("RestoreBeside", "CheckRestored", "AskApp", "SwapDatabases", "RecordSchema")
SESSION = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pg_dump'"


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """BookReader with a release in service, a book on its shelf, and a point of that."""
    site = make_bookreader(tmp_path_factory.mktemp("shelf"))
    site.extra["OPS_ROLLOUT__HEALTHY_WITHIN"] = "240"  # 60 s are for a quiet machine
    data = site.root / "docker/compose.data.yml"  # one test takes files of an extension away from the server
    data.write_text(data.read_text().replace("    read_only: true\n", "", 1))
    site.commit("a server whose files can be taken away")
    try:
        site.inv("deploy")
        put(site, "Fox")
        taken(site)
        yield site
    finally:
        left = ["docker", "compose", "-p", f"0-restore-{site.app}-local", "down", "--volumes"]
        subprocess.run(left, capture_output=True)  # of a restore that was killed
        site.sweep()


@contextlib.contextmanager
def slow_dump(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """A backup whose dump waits for a table that somebody has locked, until the block has ended."""
    words = "BEGIN; LOCK TABLE notes; SELECT pg_sleep(600)"
    line = ["psql", "--host=/var/run/postgresql", "--username=bookreader", "-qtAc", words, "bookreader"]
    locking = subprocess.Popen(["docker", "exec", f"{site.app}-local-postgres-1", *line], stdout=subprocess.DEVNULL)
    holders = (
        "SELECT count(*) FROM pg_locks WHERE relation = 'notes'::regclass AND mode = 'AccessExclusiveLock' AND granted"
    )
    assert wait_until(lambda: sql(site, holders) == "1", 10)
    argv = [sys.executable, "-m", "invoke", "backup"]
    backup = subprocess.Popen(
        argv, cwd=ROOT, env=site.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        waiting = f"{SESSION} AND wait_event_type = 'Lock'"
        assert wait_until(lambda: sql(site, waiting) == "2", 60), "dump and count of the rows do not wait"
        yield backup
    finally:
        with contextlib.suppress(subprocess.CalledProcessError):
            sql(site, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' "
                      "AND pid <> pg_backend_pid()")  # fmt: skip
        locking.wait(30)
        backup.wait(120)


@contextlib.contextmanager
def small_disk(site: Site, volume: str) -> Iterator[Path]:
    """A volume's folder on a small disk of its own, with what it holds."""
    folder = Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", f"{site.app}-local_{volume}").strip())
    script = 'kept=$(mktemp -d); cp -a "$1/." "$kept"; mount -t tmpfs -o "size=$2" tmpfs "$1"; cp -a "$kept/." "$1"'
    subprocess.run(["sh", "-euc", script, "sh", str(folder), f"{SMALL}m"], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextlib.contextmanager
def large_text(site: Site) -> Iterator[None]:
    """Sixty megabytes of text that the database has in less than one."""
    sql(
        site,
        "CREATE TABLE essays AS SELECT repeat('all work and no play ', 1500000) AS text FROM generate_series(1, 2)",
    )
    try:
        yield
    finally:
        sql(site, "DROP TABLE essays")


@contextlib.contextmanager
def random_bytes(site: Site) -> Iterator[None]:
    """Forty megabytes that nothing makes smaller."""
    sql(site, "CREATE TABLE noise AS SELECT sha512(random()::text::bytea) AS bytes FROM generate_series(1, 600000)")
    try:
        yield
    finally:
        sql(site, "DROP TABLE noise")


def volume(site: Site) -> Path:
    """The folder of the repository."""
    return Path(docker("volume", "inspect", "--format", "{{.Mountpoint}}", f"{site.app}-local_backups").strip())


def restic(site: Site, *words: str, detach: bool = False) -> str:
    """Run restic as the backup service has it, in a container of another name."""
    compose = ["compose", "--project-name", f"{site.app}-local", "--file", str(rendered(site))]
    options = ["--detach"] if detach else []
    return docker(*compose, "run", "--rm", "-T", "--no-deps", *options, "backup", "restic", *words).strip()


def rendered(site: Site) -> Path:
    """The shared services' file of the release that serves."""
    release = str(site.inv("status", "--json").document["release"])
    return site.state / "releases" / release / "shared.yml"


@pytest.mark.parametrize("victim", ["pg_dump", "container", "operator"])
def test_a_dump_that_is_killed_half_way(shelf: Site, victim: str) -> None:
    """`kill -9` of pg_dump, of the backup's container, or of the operator, in the middle of a dump."""
    before = states(shelf)
    with slow_dump(shelf) as backup:
        kill(shelf, victim, backup)
        if victim == "container":
            assert backup.wait(60) == 1
        assert states(shelf) == before, "half a dump is no point"
    assert backup.returncode == (-9 if victim == "operator" else 1)
    assert wait_until(lambda: shelf.inv("backup", code=None).code == 0, 60, pause=1)
    assert len(states(shelf)) - len(before) == (2 if victim == "operator" else 1), (
        "what a dead one began came to its end"
    )


def kill(site: Site, victim: str, backup: subprocess.Popen[bytes]) -> None:
    """End one of those who take a backup with -9."""
    if victim == "container":
        docker("kill", f"{site.app}-local-backup")
    elif victim == "operator":
        backup.kill()
    else:
        lines = docker("top", f"{site.app}-local-backup", "-o", "pid,comm").splitlines()
        os.kill(next(int(line.split()[0]) for line in lines if line.split()[1] == "pg_dump"), signal.SIGKILL)


@pytest.mark.parametrize("disk", ["backup-staging", "backups"])
def test_a_disk_that_is_full_during_a_backup(shelf: Site, disk: str) -> None:
    """The disk is full while the dump is written, or while it is copied into the repository."""
    before = states(shelf)
    filled = large_text(shelf) if disk == "backup-staging" else random_bytes(shelf)
    with filled, small_disk(shelf, disk):
        failed = shelf.inv("backup", "--json", code=1).document
        assert failed["slug"] == "backup-failed"
        assert "no space left on device" in failed["error"].lower()
        assert states(shelf) == before
        assert titles(shelf) == ["Fox"]
    assert taken(shelf)["id"] in states(shelf)


def test_a_disk_that_is_full_during_a_prune(shelf: Site) -> None:
    """The disk of the repository is full when points are removed from it."""
    taken(shelf)
    before = list(states(shelf))
    with small_disk(shelf, "backups") as folder:
        with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        failed = shelf.inv("backup.prune", "--yes", "--json", code=1, **FEW).document
        assert (failed["slug"], "no space left on device" in failed["error"].lower()) == ("backup-failed", True)
        (folder / "filler").unlink()
        left = list(states(shelf))
        assert left[0] == before[0], "the newest is there"
        assert shelf.inv("backup.verify", "--json").document[0]["state"] == "read"
        shelf.inv("backup.prune", "--yes", "--json", **FEW)
        assert shelf.inv("backup.verify", "--json").document[0]["state"] == "read"
    assert list(states(shelf)) == before


def test_a_repository_of_another_password(shelf: Site) -> None:
    """The password in the secrets file is another one than the repository was made with."""
    secrets, before = shelf.root / ".env.local", states(shelf)
    text = secrets.read_text()
    other = [line for line in text.splitlines() if not line.startswith("RESTIC_PASSWORD")]
    secrets.write_text("\n".join([*other, "RESTIC_PASSWORD=another-one-that-is-long", ""]))
    shelf.inv("deploy")
    for command in (("backup",), ("backup.verify",), ("backup.restore", "latest"), ("backup.prune", "--yes")):
        failed = shelf.inv(*command, "--json", code=1).document
        assert (command, failed["slug"]) == (command, "backup-password-wrong")
    assert titles(shelf) == ["Fox"]
    secrets.write_text(text)
    shelf.inv("deploy")
    assert states(shelf) == before


def test_a_repository_with_flipped_bits(shelf: Site) -> None:
    """Bits of each file of data in the repository are others."""
    put(shelf, "Bit")
    before, point = titles(shelf), taken(shelf)["id"]
    packs = [path for path in (volume(shelf) / "data").rglob("*") if path.is_file()]
    try:
        flip(packs)
        for command in ("backup.verify", "backup.restore"):
            failed = shelf.inv(command, point, "--json", code=1).document
            assert (command, failed["slug"]) == (command, "backup-failed")
        assert states(shelf)[point] == "taken", "never read"
        assert titles(shelf) == before
    finally:
        flip(packs)
        sql(shelf, "DELETE FROM books WHERE title = 'Bit'")
    assert shelf.inv("backup.verify", point, "--json").document[0]["state"] == "read"


def flip(paths: list[Path]) -> None:
    """Flip a bit in each 256 bytes of each file, so that no part of it is whole; twice is as before."""
    for path in paths:
        path.chmod(0o600)
        data = bytearray(path.read_bytes())
        for number in range(100, len(data), 256):
            data[number] ^= 1
        path.write_bytes(bytes(data))


def test_a_repository_that_another_has_locked(shelf: Site) -> None:
    """Another restic has the repository for itself: it lives, then it is dead and its lock is left."""
    other = restic(shelf, "--limit-download=1", "check", "--read-data", detach=True)
    try:
        assert wait_until(lambda: any((volume(shelf) / "locks").iterdir()), 30)
        docker("pause", other)
        living = shelf.inv("backup", "--json", code=4).document
        assert living["slug"] == "backup-repository-locked"
        assert "wait for whoever has it" in living["next"]
    finally:
        docker("rm", "--force", other)
    assert shelf.inv("backup", "--json", code=4).document["slug"] == "backup-repository-locked", (
        "nobody can say that it died"
    )
    _, _, unlock = living["next"].partition("where nobody has, ")
    subprocess.run(shlex.split(unlock), cwd=ROOT, env=shelf.environment, check=True, capture_output=True)
    assert taken(shelf)["id"] in states(shelf)


def test_a_clock_that_was_two_days_ahead(shelf: Site) -> None:
    """A point was taken while the clock of the host was two days ahead; then it was put right."""
    early = taken(shelf)["id"]
    time = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S")
    restic(shelf, "rewrite", "--forget", f"--new-time={time}", early)
    put(shelf, "Later")
    late = taken(shelf)["id"]
    listed = shelf.inv("backup.list", "--json")
    assert "was ahead when" in listed.stderr
    assert listed.document[0]["id"] == late
    shelf.inv("backup.prune", "--yes", "--json", **FEW)
    assert late in states(shelf), "what is kept is the newest that was really taken"
    sql(shelf, "DELETE FROM books WHERE title = 'Later'")
    assert shelf.inv("backup.restore", "latest", "--json").document["id"] == late
    assert wait_until(lambda: titles(shelf) == ["Fox", "Later"], 10), titles(shelf)
    sql(shelf, "DELETE FROM books WHERE title = 'Later'")


def test_a_host_that_was_renamed(shelf: Site) -> None:
    """The host has another name than when the points were taken."""
    before = [*states(shelf)]
    renamed = ["unshare", "--uts", "sh", "-euc", 'hostname renamed; exec "$@"', "sh"]
    argv = [*renamed, sys.executable, "-m", "invoke"]
    for words in (["backup"], ["backup.prune", "--yes"]):
        done = subprocess.run([*argv, *words], cwd=ROOT, env=shelf.environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert [*states(shelf)][1:] == before, "one group of points: none is kept, or removed, by a host's name"


def test_an_extension_that_the_server_lacks(shelf: Site) -> None:
    """The files of an extension that the point needs are gone from the server, and so is a role."""
    postgres = f"{shelf.app}-local-postgres-1"
    folder = "/usr/share/postgresql/15/extension"
    control = f"printf \"default_version = '1'\\nrelocatable = true\\n\" >{folder}/shelving.control"
    make = f"{control}; echo 'CREATE TABLE shelving (id int);' >{folder}/shelving--1.sql"
    docker("exec", "--user=0", postgres, "sh", "-c", make)
    sql(shelf, "CREATE EXTENSION shelving")
    sql(shelf, "CREATE ROLE librarian; GRANT SELECT ON books TO librarian")
    before, point = titles(shelf), taken(shelf)["id"]
    sql(shelf, "DROP EXTENSION shelving; DROP OWNED BY librarian; DROP ROLE librarian")
    docker("exec", "--user=0", postgres, "sh", "-c", f"mkdir /tmp/gone; mv {folder}/shelving* /tmp/gone")
    failed = shelf.inv("backup.restore", point, "--json", code=1).document
    assert 'extension "shelving" is not available' in failed["error"]
    assert titles(shelf) == before
    assert not [name for name in sql(shelf, "SELECT datname FROM pg_database").split() if "_restored_" in name]
    docker("exec", "--user=0", postgres, "sh", "-c", f"mv /tmp/gone/* {folder}")
    shelf.inv("backup.restore", point)
    assert wait_until(lambda: titles(shelf) == before, 10), titles(shelf)
    assert sql(shelf, "SELECT has_table_privilege('librarian', 'books', 'SELECT')") == "t"
    sql(shelf, "DROP EXTENSION shelving; DROP OWNED BY librarian; DROP ROLE librarian")


def test_a_restore_that_is_killed_at_each_step(shelf: Site) -> None:
    """The operator is killed at the begin and at the end of each step of a restore; resume and abort in turn."""
    point = taken(shelf)["id"]
    for number, name in enumerate(STEPS):
        for state, way_out in zip(
            ("begin", "done"), ("resume", "abort") if number % 2 else ("abort", "resume"), strict=True
        ):
            put(shelf, "Lost")
            assert shelf.killed(number, state, "backup.restore", point) == name
            assert shows(shelf, ["Fox"], ["Fox", "Lost"]), "one of the two serves"
            assert "restore of" in shelf.inv("backup.restore", point, code=5).stderr
            shelf.inv(way_out)
            assert shows(shelf, ["Fox", "Lost"] if way_out == "abort" else ["Fox"]), (
                name,
                state,
                way_out,
                titles(shelf),
            )
            assert not [one for one in sql(shelf, "SELECT datname FROM pg_database").split() if "_restored_" in one]
            sql(shelf, "DELETE FROM books WHERE title = 'Lost'")


def shows(site: Site, *shelves: list[str]) -> bool:
    """Tell whether a visitor soon sees one of these shelves; the app connects again after a swap."""
    return wait_until(lambda: titles(site) in shelves, 10)


def test_a_database_that_dies_during_a_restore(shelf: Site) -> None:
    """PostgreSQL gets `kill -9` while a point is restored beside the live database."""
    with random_bytes(shelf):
        point = taken(shelf)["id"]
        put(shelf, "Later")
        argv = [sys.executable, "-m", "invoke", "backup.restore", point]
        with subprocess.Popen(argv, cwd=ROOT, env=shelf.environment, stderr=subprocess.PIPE, text=True) as operator:
            assert wait_until(lambda: "_restored_" in sql(shelf, "SELECT datname FROM pg_database"), 60, pause=0.05)
            container = f"{shelf.app}-local-postgres-1"
            os.kill(int(docker("inspect", "--format={{.State.Pid}}", container)), signal.SIGKILL)
            _, message = operator.communicate(timeout=120)
        assert shows(shelf, ["Fox", "Later"]), titles(shelf)
        if operator.returncode == 1:  # the database was there again before anybody asked
            shelf.inv("backup.restore", point)
        else:
            assert (operator.returncode, "inv resume" in message) == (5, True), message
            shelf.inv("resume")
        assert shows(shelf, ["Fox"]), titles(shelf)
        assert "_restored_" not in sql(shelf, "SELECT datname FROM pg_database")


def test_whoever_comes_while_a_backup_runs(shelf: Site) -> None:
    """A drill, a restore, another backup and a deploy come while a dump runs."""
    point = next(iter(states(shelf)))
    with slow_dump(shelf) as backup:
        for command in (("backup",), ("backup.drill",), ("backup.restore", point), ("backup.prune", "--yes")):
            assert shelf.inv(*command, "--json", code=4).document["code"] == 4
        shelf.write(
            "backend/bookreader/paths.py", (shelf.root / "backend/bookreader/paths.py").read_text() + "# changed\n"
        )
        shelf.commit()
        release = shelf.inv("deploy", "--json").document["release"]
        assert release in shelf.get("/api/version")[1], "a deploy without a migration goes on"
        assert backup.poll() is None
    assert backup.returncode == 0
    assert titles(shelf) == ["Fox"]


CHURN = """
while :; do
    for n in $(seq 40); do head -c 30000 /dev/urandom >/uploads/$n-$(date +%N); done
    rm -f /uploads/*
done
"""


def test_uploads_that_visitors_delete_while_they_are_saved(shelf: Site) -> None:
    """Hundreds of files a second come and go in a volume that is saved; six points are taken of it."""
    volumes = '"backup-staging:/staging"'
    shelf.replace("docker/compose.backup.yml", volumes, f'{volumes}, "uploads:/data/uploads:ro"')
    shelf.replace("docker/compose.backup.yml", "  backup-staging: {}", "  backup-staging: {}\n  uploads: {}")
    shelf.commit("uploads are saved")
    shelf.inv("deploy")
    volume = f"--volume={shelf.app}-local_uploads:/uploads"
    churning = docker("run", "--detach", "--rm", volume, "bookreader/backup", "sh", "-c", CHURN).strip()
    try:
        points = [taken(shelf)["id"] for _ in range(6)]
    finally:
        docker("rm", "--force", churning)
    assert {states(shelf)[point] for point in points} == {"taken"}
    assert shelf.inv("backup.verify", points[-1], "--json").document[0]["state"] == "read"


def test_a_manifest_of_a_newer_toolkit(shelf: Site) -> None:
    """A newer toolkit has taken a point: its manifest has keys of its own, then it needs a newer reader."""
    path = "docker/backup/manifest.sql"
    shelf.replace(path, "  'version', 1,", "  'version', 2, 'shards', jsonb_build_array(1, 2),")
    shelf.commit("a newer toolkit")
    shelf.inv("deploy")
    point = taken(shelf)["id"]
    assert shelf.inv("backup.verify", point, "--json").document[0]["state"] == "read"
    shelf.inv("backup.restore", point)
    assert wait_until(lambda: titles(shelf) == ["Fox"], 10), titles(shelf)
    shelf.replace(path, "'version', 2,", "'version', 2, 'needs', 99,")
    shelf.commit("an even newer toolkit")
    shelf.inv("deploy")
    refused = shelf.inv("backup", "--json", code=2).document
    assert (refused["slug"], "newer" in refused["next"]) == ("toolkit-too-old", True)
    newest = next(iter(states(shelf)))
    refused = shelf.inv("backup.restore", newest, "--json", code=2).document
    assert (refused["slug"], titles(shelf)) == ("toolkit-too-old", ["Fox"])
