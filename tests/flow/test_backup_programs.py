"""Programs of docker/backup, run by a shell where restic and psql are scripts."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.site import ROOT

RESTIC = r"""#!/bin/sh
echo "$*" >>{folder}/asked
case $1 in
  backup) cat {folder}/says >&2; echo '{{"message_type":"summary","snapshot_id":"beef1234"}}'; exit {code} ;;
  forget) exit {forget} ;;
  restore) cp {folder}/wal/recovered/point/* "$5" ;;
  dump) cat {folder}/staging/point/manifest.json 2>/dev/null || echo manifest ;;
  snapshots) printf '%s' '{listed}' ;;
esac
"""
PSQL = """#!/bin/sh
case $* in *take.sql) echo dump >database.dump; echo '{"rows": {}}' >manifest.json ;; *) echo 1 ;; esac
"""
OPENSSL = """#!/bin/sh
sha256sum
"""


class Programs:
    """A folder in front of the PATH, with scripts in place of what talks to others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name, text in {"login": "", "psql": PSQL, "pg_restore": "#!/bin/sh\n", "openssl": OPENSSL}.items():
            self.write(name, text)
        for name in ("dump", "checksum", "intact"):
            self.write(name, (ROOT / "docker" / "backup" / name).read_text())
        for lacking in ("awk", "grep", "sed"):  # the image has none
            self.write(lacking, f"#!/bin/sh\necho {lacking}: not found >&2\nexit 127\n")

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def run(
        self, program: str, *words: str, code: int = 0, forget: int = 0, listed: str = "[]", errors: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one where restic ends a backup with this code and these errors, and lists this."""
        (self.folder / "tmp").mkdir(exist_ok=True)
        self.write("says", errors)
        self.write("restic", RESTIC.format(folder=self.folder, code=code, forget=forget, listed=listed))
        text = (ROOT / "docker" / "backup" / program).read_text()
        for place in ("/staging/", "/wal/recovered/", "/tmp/errors"):  # noqa: S108  # of the program, not of this one
            text = text.replace(place, f"{self.folder}{place}")
        self.write(program, text)
        variables = {"RESTIC_REPOSITORY": "/near", "RESTIC_PASSWORD": "-", "BACKUP_OFFSITE": "/far"}
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", **variables}
        return subprocess.run(
            ["sh", program, *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=20
        )

    def asked(self) -> list[str]:
        """What restic was asked for."""
        asked = self.folder / "asked"
        return asked.read_text().splitlines() if asked.exists() else []


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    """The programs in a folder of their own."""
    return Programs(tmp_path)


def test_a_snapshot_that_lacks_files_is_removed_and_is_no_point(programs: Programs) -> None:
    done = programs.run("take", "shop-prod", "point", code=3)
    assert (done.returncode, done.stdout) == (1, "")
    assert "could be read: nothing was taken" in done.stderr
    assert programs.asked()[-1] == "forget --quiet beef1234"
    kept = programs.run("take", "shop-prod", "point", code=3, forget=1)
    assert "remove snapshot beef1234: it is not complete" in kept.stderr
    assert programs.run("take", "shop-prod", "point").returncode == 0
    assert programs.run("take", "shop-prod", "point", code=12).returncode == 12


def error(item: str, message: str) -> str:
    """What restic 0.18 says of a file that it could not read."""
    words = {"message_type": "error", "error": {"message": message}, "during": "archival", "item": item}
    return json.dumps(words, separators=(",", ":")) + "\n"


GONE = "incomplete metadata for {0}: xattr.list {0}: no such file or directory"
DELETED = error("/data/uploads/a b", GONE.format("/data/uploads/a b"))
LAST = '{"message_type":"exit_error","code":3,"message":"Warning: at least one source file could not be read"}\n'


@pytest.mark.parametrize(
    ("errors", "taken"),
    [
        (DELETED + LAST, True),
        (DELETED + error("/data/uploads/b", "open /data/uploads/b: permission denied") + LAST, False),
        (error("/staging/point/database.dump", GONE.format("/staging/point/database.dump")) + LAST, False),
        (error("/data/uploads/no such file or directory", "open: input/output error") + LAST, False),
        (LAST, False),
    ],
    ids=[
        "a visitor deleted an upload",
        "another may not be read",
        "the dump is gone",
        "a name like it",
        "it says none",
    ],
)
def test_an_upload_that_is_deleted_while_it_is_saved_is_no_fault(programs: Programs, errors: str, taken: bool) -> None:
    done = programs.run("take", "shop-prod", "point", code=3, errors=errors)
    assert (done.returncode, "beef1234" in done.stdout) == ((0, True) if taken else (1, False))
    assert ("forget --quiet beef1234" in programs.asked()) is not taken
    assert (errors in done.stderr) is not taken


def test_a_dump_that_cannot_be_read_is_removed_though_it_was_saved(programs: Programs) -> None:
    programs.write("pg_restore", "#!/bin/sh\nexit 1\n")
    done = programs.run("take", "shop-prod", "point")
    assert (done.returncode, done.stdout) == (1, "")
    assert "pg_restore cannot read the dump: nothing was taken" in done.stderr
    assert programs.asked()[-1] == "forget --quiet beef1234"


@pytest.mark.parametrize("program", ["take", "restore"])
def test_a_dump_with_another_checksum_is_neither_saved_nor_restored(programs: Programs, program: str) -> None:
    """Of a moment that was recovered, and of a point; what the checksum is taken of was cut."""
    (point := programs.folder / "wal" / "recovered" / "point").mkdir(parents=True)
    (point / "database.dump").write_text("half a du")
    (point / "database.dump.sha256").write_text(f"{'0' * 64}  database.dump\n")
    programs.write("pg_restore", f"#!/bin/sh\necho pg_restore >>{programs.folder}/asked\n")
    words = ("shop-prod", "point", "2026-11-23 10:15:00") if program == "take" else ("beef1234", "beside")
    done = programs.run(program, *words)
    assert done.returncode == 1
    assert "another checksum than when it was taken" in done.stderr
    assert [line.split()[0] for line in programs.asked()] == ([] if program == "take" else ["restore"])


FAR = '[{"original":"aaaa1111","id":"ffff0000"},{"id":"bbbb2222","short_id":"bbbb2222"}]'


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        (("here9999", "aaaa1111"), "ffff0000\n"),
        (("here9999", "bbbb2222"), "bbbb2222\n"),
        (("aaaa1111",), "ffff0000\n"),
        (("here9999", "cccc3333"), ""),
    ],
    ids=["fetched before", "taken over there", "by an older schedule", "not there"],
)
def test_a_copy_is_read_back_by_the_id_of_the_point(programs: Programs, words: tuple[str, ...], printed: str) -> None:
    done = programs.run("offsite", "shop-prod", "point", *words, listed=FAR)
    assert (done.stdout, done.returncode) == (printed, 0 if printed else 1), done.stderr
