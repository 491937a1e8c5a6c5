"""What compose files say to the public images of PostgreSQL and Redis, said to our own entrypoints.

Bash and coreutils are real; the server and its tools are scripts that write down how they were called.
"""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.site import ROOT

INITDB = """#!/bin/bash
for word; do
  case $word in
    --pgdata=*) to=${word#*=} ;;
    --pwfile=*) echo "password $(<"${word#*=}")" >>LOG ;;
  esac
done
mkdir -p "$to/base"
echo 15 >"$to/PG_VERSION"
touch "$to/pg_hba.conf" "$to/postgresql.conf"
printf 'initdb' >>LOG
for word in "${@:2}"; do case $word in --pwfile=*) ;; *) printf ' [%s]' "$word" >>LOG ;; esac; done
echo >>LOG
"""
POSTGRES = """#!/bin/bash
echo "postgres $*" >>LOG
if [[ $1 == --single ]]; then sed 's/^/  /' >>LOG; fi
"""
CALLED = '#!/bin/bash\necho "${0##*/} $*" >>LOG\n'
PSQL = """#!/bin/bash
echo "psql ${*: -2} password=$PGPASSWORD host=$PGHOST" >>LOG
sed 's/^/  /' >>LOG
"""
SETPRIV = """#!/bin/bash
echo "setpriv $1 HOME=$HOME" >>LOG
touch ROOT_GONE
exec "${@:4}"
"""
ID = """#!/bin/bash
case $1 in -u) [[ -e ROOT_GONE ]] && echo 999 || echo UID ;; -g) echo UID ;; -un) [[ UID != 4242 ]] ;; esac
"""
FILE: Any = {"POSTGRES_PASSWORD_FILE": "/nowhere"}
ALONE: Any = {"POSTGRES_PASSWORD": "x"}
PUBLIC: Any = {"POSTGRES_PASSWORD": "p w", "POSTGRES_USER": "shop"}


class Image:
    """A base image as a folder: its entrypoint, and programs in place of its own."""

    def __init__(self, folder: Path, base: str) -> None:
        self.folder, self.data, self.log = folder, folder / "data", folder / "log"
        self.scripts = folder / "initdb.d"
        for made in (folder / "bin", self.scripts, folder / "sockets"):
            made.mkdir()
        self.log.touch()
        text = (ROOT / "docker" / "base" / base / "entrypoint.sh").read_text()
        text = text.replace("/docker-entrypoint-initdb.d", str(self.scripts))
        self.write("docker-entrypoint.sh", text.replace("/var/run/postgresql", str(folder / "sockets")))
        for name in ("pg_ctl", "redis-server", "chown"):
            self.write(name, CALLED)
        for name, program in {"initdb": INITDB, "postgres": POSTGRES, "psql": PSQL, "setpriv": SETPRIV}.items():
            self.write(name, program)
        self.account(999)

    def write(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text.replace("LOG", str(self.log)).replace("ROOT_GONE", str(self.folder / "gone")))
        path.chmod(0o755)

    def account(self, uid: int) -> None:
        """Say as which account the container is started."""
        self.write("id", ID.replace("UID", str(uid)))

    def start(self, *words: str, code: int = 0, **environment: str) -> str:
        """Start it; return what its programs were asked, or what was said where it fails."""
        self.log.write_text("")
        done = subprocess.run(
            [self.folder / "bin" / "docker-entrypoint.sh", *words],
            env={"PATH": f"{self.folder}/bin:/usr/bin:/bin", "PGDATA": str(self.data), **environment},
            capture_output=True, text=True, cwd=self.folder / "bin",
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stderr if code else self.log.read_text().replace(str(self.folder), "")


@pytest.fixture
def postgres(tmp_path: Path) -> Image:
    return Image(tmp_path, "postgres")


@pytest.fixture
def redis(tmp_path: Path) -> Image:
    return Image(tmp_path, "redis")


SERVES = "postgres -c listen_addresses=* -c unix_socket_directories=/sockets"
MADE = "[--username=shop] [--auth-host=scram-sha-256] [--auth-local=trust] [--encoding=UTF8] [--locale=C.UTF-8]"


def test_a_new_volume_gets_a_cluster_with_role_password_and_database(postgres: Image) -> None:
    asked = postgres.start("postgres", **PUBLIC, POSTGRES_DB="orders")
    assert asked.splitlines() == [
        "password p w", f"initdb {MADE}",
        "postgres --single -D /data/.part -j postgres", '  CREATE DATABASE "orders"', SERVES,
    ]  # fmt: skip
    assert (postgres.data / "PG_VERSION").read_text() == "15\n"
    assert (postgres.data / "pg_hba.conf").read_text() == "\nhost all all all scram-sha-256\n"
    assert {path.name for path in postgres.data.iterdir()} == {"PG_VERSION", "base", "pg_hba.conf", "postgresql.conf"}
    assert postgres.data.stat().st_mode & 0o777 == 0o700


def test_the_database_is_named_as_the_role_and_the_role_postgres_by_default(postgres: Image) -> None:
    assert 'CREATE DATABASE "shop"' in postgres.start("postgres", **PUBLIC)


def test_without_a_name_nothing_but_postgres_is_made(postgres: Image) -> None:
    asked = postgres.start("postgres", **ALONE)
    assert "[--username=postgres]" in asked
    assert "CREATE" not in asked


@pytest.mark.parametrize("words", [("postgres", "-c", "max_connections=200"), ("-c", "max_connections=200")])
def test_options_come_last_so_that_they_win(postgres: Image, words: tuple[str, ...]) -> None:
    assert postgres.start(*words, **PUBLIC).splitlines()[-1] == f"{SERVES} -c max_connections=200"


@pytest.mark.parametrize("words", [("postgres", "--version"), ("--version",)])
def test_a_question_makes_no_cluster(postgres: Image, words: tuple[str, ...]) -> None:
    assert postgres.start(*words) == "postgres --version\n"
    assert not postgres.data.exists()


def test_another_program_is_run_and_our_own_compose_files_still_work(postgres: Image) -> None:
    assert postgres.start("pg_ctl", "-V") == "pg_ctl -V\n"
    assert postgres.start("docker-entrypoint.sh", "postgres", **PUBLIC).splitlines()[-1] == SERVES


def test_a_volume_with_a_cluster_is_left_alone(postgres: Image) -> None:
    postgres.data.mkdir()
    (postgres.data / "PG_VERSION").write_text("15\n")
    (postgres.scripts / "seed.sql").write_text("select 1;")
    assert postgres.start("postgres") == f"{SERVES}\n"
    assert [path.name for path in postgres.data.iterdir()] == ["PG_VERSION"]


def test_root_owns_the_folders_over_and_becomes_postgres(postgres: Image) -> None:
    postgres.account(0)
    asked = postgres.start("-c", "work_mem=8MB", **PUBLIC, PGDATA=f"{postgres.data}/deep/er").splitlines()
    assert asked[0].startswith("chown 999:999 /data/deep/er /sockets")
    assert asked[1] == "setpriv --reuid=999 HOME=/var/lib/postgresql"
    assert asked[-1] == f"{SERVES} -c work_mem=8MB"
    assert (postgres.data / "deep/er/PG_VERSION").exists()


def test_an_account_without_a_name_gets_one_for_initdb_alone(postgres: Image) -> None:
    postgres.account(4242)
    for name in ("initdb", "postgres"):
        program = (postgres.folder / "bin" / name).read_text()
        postgres.write(name, program.replace("\n", '\necho "${LD_PRELOAD:-none}" >>LOG\n', 1))
    preloaded = [line for line in postgres.start("postgres", **PUBLIC).splitlines() if line.endswith((".so", "none"))]
    assert preloaded == ["libnss_wrapper.so", "libnss_wrapper.so", "none"]


def test_settings_come_from_files(postgres: Image) -> None:
    for name, text in {
        "PASSWORD": "from file",
        "USER": "filed",
        "DB": "filed db",
        "INITDB_ARGS": "--data-checksums",
    }.items():
        (postgres.folder / name).write_text(f"{text}\n")
    files: Any = {
        f"POSTGRES_{name}_FILE": str(postgres.folder / name) for name in ("PASSWORD", "USER", "DB", "INITDB_ARGS")
    }
    asked = postgres.start("postgres", **files)
    assert "password from file\n" in asked
    assert "[--username=filed]" in asked
    assert "[--data-checksums]" in asked
    assert 'CREATE DATABASE "filed db"' in asked


def test_a_setting_that_is_there_twice_and_a_file_that_is_not_there_are_refused(postgres: Image) -> None:
    output = postgres.start("postgres", code=1, **PUBLIC, **FILE)
    assert "POSTGRES_PASSWORD and POSTGRES_PASSWORD_FILE are both set" in output
    assert "/nowhere: No such file" in postgres.start("postgres", code=1, **FILE)
    assert not postgres.data.exists()


def test_options_of_initdb_are_words_as_a_shell_reads_them(postgres: Image) -> None:
    asked = postgres.start(
        "postgres", **PUBLIC, POSTGRES_INITDB_ARGS="--lc-collate='a b' -k", POSTGRES_INITDB_WALDIR="/wal"
    )
    assert f"initdb {MADE} [--lc-collate=a b] [-k] [--waldir=/wal]" in asked


def test_without_a_password_only_trust_is_let_in(postgres: Image) -> None:
    assert "POSTGRES_PASSWORD, for the role postgres, is empty" in postgres.start("postgres", code=1)
    asked = postgres.start("postgres", POSTGRES_HOST_AUTH_METHOD="trust")
    assert "password" not in asked
    assert "[--auth-host=trust]" in asked
    assert (postgres.data / "pg_hba.conf").read_text() == "\nhost all all all trust\n"


def test_scripts_run_once_in_order_on_a_server_that_nobody_reaches(postgres: Image) -> None:
    (postgres.scripts / "1.sh").write_text(
        'echo "sourced $POSTGRES_DB $UNSET" >>"$OUT"; echo x >>"$PGDATA/postgresql.conf"'
    )
    (postgres.scripts / "2.sh").write_text('#!/bin/sh\necho "run $POSTGRES_USER" >>"$OUT"\n')
    (postgres.scripts / "2.sh").chmod(0o755)
    (postgres.scripts / "3.sql").write_text("select 3;\n")
    (postgres.scripts / "4.sql.gz").write_bytes(gzip.compress(b"select 4;\n"))
    (postgres.scripts / "README").touch()
    asked = postgres.start("postgres", "-c", "a=b c", **PUBLIC, OUT=str(postgres.log)).splitlines()
    started = "-c a=b\\ c -p 5432 -c listen_addresses= -c unix_socket_directories=/sockets"
    assert asked[4:] == [
        f"pg_ctl --wait --silent --options={started}  start", "sourced shop ", "run shop",
        "psql --username=shop --dbname=shop password=p w host=", "  select 3;",
        "psql --username=shop --dbname=shop password=p w host=", "  select 4;",
        "pg_ctl --wait --silent --mode=fast stop", f"{SERVES} -c a=b c",
    ]  # fmt: skip
    assert (postgres.data / "postgresql.conf").read_text() == "x\n"
    assert "sourced" not in postgres.start("postgres", **PUBLIC, OUT=str(postgres.log))


@pytest.mark.parametrize(("name", "text"), [("a.sh", "false\n"), ("a.sql.xz", "")])
def test_a_script_that_fails_leaves_no_cluster_behind(postgres: Image, name: str, text: str) -> None:
    script = postgres.scripts / name
    script.write_text(text)
    assert str(script) in postgres.start("postgres", code=1, **PUBLIC)
    assert not (postgres.data / "PG_VERSION").exists()
    script.unlink()
    assert f"initdb {MADE}" in postgres.start("postgres", **PUBLIC)


def test_a_cluster_that_was_half_moved_is_moved_on(postgres: Image) -> None:
    """Not made again beside what was moved already."""
    postgres.write("mv", '#!/bin/bash\n/bin/mv "${@: -1}" "$PGDATA" && exit 1\n')
    postgres.start("postgres", code=1, **PUBLIC)
    assert len([*postgres.data.iterdir()]) == 2
    (postgres.folder / "bin" / "mv").unlink()
    assert postgres.start("postgres", **PUBLIC) == f"{SERVES}\n"
    assert {path.name for path in postgres.data.iterdir()} == {"PG_VERSION", "base", "pg_hba.conf", "postgresql.conf"}


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ((), "--protected-mode no"),
        (("redis-server", "--requirepass", "x"), "--requirepass x --protected-mode no"),
        (("--save", ""), "--save  --protected-mode no"),
        (("redis-server", "--protected-mode", "yes"), "--protected-mode yes"),
        (("own.conf",), "own.conf"),
        (("other.conf", "--appendonly", "yes"), "other.conf --appendonly yes --protected-mode no"),
        (("redis-server", "--version"), "--version"),
    ],
)
def test_redis_is_what_the_command_says(redis: Image, words: tuple[str, ...], asked: str) -> None:
    (redis.folder / "bin/own.conf").write_text("protected-mode yes\n")
    (redis.folder / "bin/other.conf").write_text("port 6380\n")
    assert redis.start(*words) == f"redis-server {asked}\n"


def test_redis_owns_its_folder_over_and_drops_root(redis: Image) -> None:
    redis.account(0)
    asked = redis.start("redis-server").splitlines()
    assert asked[0].startswith("chown 999:999 .")
    assert asked[1].startswith("setpriv --reuid=999")
    assert asked[2] == "redis-server --protected-mode no"
    assert redis.start("pg_ctl", "anything") == "pg_ctl anything\n"
