"""Programs of docker/backup that receive WAL, run by a shell where restic and the server are scripts."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.site import ROOT

ROOM = "#!/bin/sh\necho Avail\necho {free}\n"
# exclusively locked, by one that is dead, until somebody unlocks it
RESTIC = """#!/bin/sh
echo "$*" >>{folder}/asked
case $1 in
  unlock) touch {folder}/unlocked ;;
  backup) [ -e {folder}/unlocked ] || exit {code} ;;
esac
"""
ASK = """#!/bin/sh
case $* in
  *IDENTIFY_SYSTEM*) [ ! -e {folder}/away ] || exit 2; echo "7 1 0/0" ;;
  *slot.sql*) echo 000000010000000000000002 000000010000000000000001 ;;
  *pg_current_wal_lsn*"'0/3000000'"*) cat {folder}/behind ;;
  *size.sql*) echo 1000 ;; *now.sql*) echo 2026-11-30T10:00:00.5Z ;;
esac
"""
BASEBACKUP = """#!/bin/sh
for word; do case $word in --pgdata=*) to=${word#*=} ;; esac; done
mkdir "$to" && echo "START WAL LOCATION: 0/2 (file 000000010000000000000002)" >"$to/backup_label"
"""


class Programs:
    """The folder of received WAL, and one of programs, in place of those of the image."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.wal = folder, folder / "wal"
        (self.wal / "stretches").mkdir(parents=True)
        for name in ("login", "pg_verifybackup", "pg_archivecleanup", "pg_receivewal"):
            self.write(name, "#!/bin/sh\n")
        self.write("psql", ASK.replace("{folder}", str(folder)))
        self.write("pg_basebackup", BASEBACKUP)
        self.write("streamer", (ROOT / "docker" / "backup" / "streamer").read_text().replace("/wal", str(self.wal)))

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def stretch(self, name: str, *segments: str) -> Path:
        """Make a stretch with so many segments; None make no folder of WAL."""
        made = self.wal / "stretches" / name
        (made / "wal").mkdir(parents=True)
        (made / "base").mkdir()
        (made / "until").write_text("2026-11-30T12:00:00.0Z 0/3000000\n")
        (made / "system").write_text("7 1\n")
        for segment in segments:
            (made / "wal" / segment).write_text("WAL")
        return made

    def run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one to its end."""
        text = (ROOT / "docker" / "backup" / program).read_text().replace("/wal/", f"{self.wal}/")
        self.write(program, text)
        given = {
            "WAL_DAYS": "3",
            "WAL_KEEP_ON_SERVER": "4GB",
            "WAL_PASSWORD": "-",
            "STATE_FOLDER": "/state",
            "BACKUP_OFFSITE": "sftp:far:/wal",
        }
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "RESTIC_REPOSITORY": "/near", **given}
        return subprocess.run(
            ["sh", program, *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=20
        )


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """The programs in a folder of their own."""
    return Programs(tmp_path)


@pytest.mark.parametrize("free", [1000, 2000], ids=["no room", "room"])
def test_a_base_backup_does_not_fill_the_disk_that_the_database_writes_to(programs: Programs, free: int) -> None:
    programs.write("df", ROOM.format(free=free))
    stretch = programs.stretch("20261130T100000Z", "000000010000000000000002")
    done = programs.run("base", str(stretch))
    taken = [path.name for path in (stretch / "base").iterdir()]
    assert taken == ([] if free == 1000 else ["2026-11-30T10:00:00.5Z"]), done.stderr
    assert done.returncode == (1 if free == 1000 else 0)
    assert ("no space left: a base backup may take 1000 bytes, and 1000 are free" in done.stderr) == (free == 1000)


def test_a_stretch_whose_wal_is_gone_hides_no_other(programs: Programs) -> None:
    programs.stretch("20261129T100000Z")
    (programs.stretch("20261129T110000Z") / "wal").rmdir()
    programs.stretch("20261130T100000Z", "000000010000000000000002")
    done = programs.run("held")
    assert done.returncode == 0, done.stderr
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("stretch")][
        -1
    ] == "20261130T100000Z"
    assert done.stdout.splitlines()[-1] == "wal 000000010000000000000002 3"


@pytest.mark.parametrize("code", [11, 3], ids=["locked by a dead one", "a segment was renamed for good"])
def test_what_a_dead_restic_has_locked_is_unlocked(programs: Programs, code: int) -> None:
    programs.write("restic", RESTIC.format(folder=programs.folder, code=code))
    (programs.wal / "fetched").touch()
    done = programs.run("ship")
    assert (done.returncode, (programs.wal / "shipped").exists()) == ((0, True) if code == 11 else (3, False))
    assert ("unlock --quiet" in (programs.folder / "asked").read_text()) == (code == 11)


@pytest.mark.parametrize("behind", ["f", "t"], ids=["it goes on", "set back"])
def test_a_server_that_was_set_back_begins_a_stretch_of_its_own(programs: Programs, behind: str) -> None:
    (programs.folder / "behind").write_text(behind)
    before = programs.stretch("20261130T100000Z", "000000010000000000000002.partial")
    done = programs.run("stretch")
    assert done.returncode == 0, done.stderr
    assert (done.stdout.strip() == str(before)) == (behind == "f")
    assert (before / "wal" / "000000010000000000000002.partial").exists()


def test_a_server_that_does_not_answer_is_no_other_one(programs: Programs) -> None:
    (programs.folder / "away").touch()
    programs.stretch("20261130T100000Z", "000000010000000000000002.partial")
    assert programs.run("stretch").returncode == 2
    assert [path.name for path in (programs.wal / "stretches").iterdir()] == ["20261130T100000Z"]


@pytest.mark.parametrize(("age", "code"), [(0, 0), (300, 1), (-300, 1)], ids=["now", "long ago", "the clock went back"])
def test_wal_is_fresh_for_a_minute(programs: Programs, age: int, code: int) -> None:
    until = programs.stretch("20261130T100000Z") / "until"
    os.utime(until, (time.time() - age,) * 2)
    assert programs.run("fresh").returncode == code
