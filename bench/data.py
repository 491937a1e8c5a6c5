"""Measure what a recovery point costs beside PostgreSQL's own tools on the same database, in the same run.

Usage: python -m bench.data [--scale 67] [--runs 3] [--drill 1]      a scale of 67, and a drill of 1, are of 1 GB
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from bench.__main__ import report
from bench.measure import Number, run, timed
from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.images import bases, dockerfile
from tests.support.site import ROOT, make_bookreader

HOST, TAG = "bench", "recovery-point"
SOCKET = "--host=/var/run/postgresql"
SWAPS = 5
ROWS_OF_A_GIGABYTE = 10_000_000
# PostgreSQL writes a changed row where there is room: at the end of the table, while its pages are full
CHANGE = "UPDATE pgbench_accounts SET abalance = abalance + 1 WHERE {}"
NEWEST, SPREAD = "aid > (SELECT max(aid) * 0.99 FROM pgbench_accounts)", "aid % 100 = 0"
SMALLEST_CHUNK = 512  # kB, of restic: a changed byte makes all of its chunk new
FILL = (
    "CREATE TABLE filler AS SELECT n AS id, md5(n::text) || md5((n + 1)::text) AS text FROM generate_series(1, ROWS) n"
)


class Server:
    """A PostgreSQL of its own, and the backup image next to it; everything has one label and one name."""

    def __init__(self, scale: int) -> None:
        """Start both on a database of pgbench."""
        self.name, self.repository = f"ops-bench-{uuid4().hex[:6]}", "/backups/none"
        needed = dockerfile.images((ROOT / "docker" / "backup.Dockerfile").read_text())
        images = bases.prepare(ROOT, "auto", needed, LocalHost())
        contexts = [f"--build-context={name}=docker-image://{image}" for name, image in images.items()]
        docker = str(ROOT / "docker")
        run(
            "docker",
            "buildx",
            "build",
            "--load",
            *contexts,
            f"--tag={self.name}",
            f"--file={docker}/backup.Dockerfile",
            docker,
        )
        run("docker", "network", "create", self.name)
        run(
            "docker", "run", "--detach", f"--name={self.name}", f"--network={self.name}", "--user=999:999",
            "--env=POSTGRES_USER=bench", "--env=POSTGRES_DB=bench", "--env=POSTGRES_PASSWORD=bench",
            "--env=PGDATA=/var/lib/postgresql/data", f"--volume={self.name}:/var/lib/postgresql/data",
            "--tmpfs=/var/run/postgresql:uid=999,gid=999", "--tmpfs=/tmp:mode=1777", images["postgres"],
        )  # fmt: skip
        if not wait_until(lambda: "accepting" in self.attempt("pg_isready", "--host=127.0.0.1"), 60):
            raise RuntimeError(f"{self.name} did not accept connections within 60 s; docker logs {self.name}")
        self.sql("pgbench", "--initialize", "--quiet", f"--scale={scale}", "bench")

    def attempt(self, *words: str) -> str:
        """Run a program in the server's container; empty when it fails."""
        try:
            return run("docker", "exec", self.name, *words)
        except RuntimeError:
            return ""

    def sql(self, program: str, *words: str) -> str:
        """Run one of PostgreSQL's programs in the server's container."""
        return run("docker", "exec", self.name, program, SOCKET, "--username=bench", *words)

    def backup(self, *words: str) -> str:
        """Run one of docker/backup's programs."""
        return run(
            "docker", "run", "--rm", f"--network={self.name}", f"--env=PGHOST={self.name}", "--env=PGUSER=bench",
            "--env=PGDATABASE=bench", "--env=POSTGRES_PASSWORD=bench", "--env=RESTIC_PASSWORD=bench",
            f"--env=RESTIC_REPOSITORY={self.repository}", f"--volume={self.name}-staging:/staging",
            f"--volume={self.name}-backups:/backups", self.name, *words,
        )  # fmt: skip

    def make_repository(self, name: str) -> None:
        """Make a repository that has nothing yet, and use it from now on."""
        self.repository = f"/backups/{name}"
        self.backup("restic", "init", "--quiet")

    def take(self) -> dict[str, Any]:
        """Take a recovery point; return restic's summary."""
        summary: dict[str, Any] = json.loads(self.backup("take", HOST, TAG).splitlines()[-1])
        return summary

    def change(self, which: str) -> None:
        """Change rows of the largest table, and have the server write them out before anything is timed."""
        self.sql("psql", f"--command={CHANGE.format(which)}", "--command=CHECKPOINT", "bench")

    def end(self) -> None:
        """Remove all of it."""
        run("docker", "rm", "--force", "--volumes", self.name)
        run("docker", "volume", "rm", "--force", self.name, f"{self.name}-staging", f"{self.name}-backups")
        run("docker", "network", "rm", self.name)
        run("docker", "image", "rm", "--force", self.name)


@contextmanager
def server(scale: int) -> Iterator[Server]:
    """A server for as long as it is measured."""
    started = Server(scale)
    try:
        yield started
    finally:
        started.end()


def main() -> None:
    """Run every measurement and print the report."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--scale", type=int, default=67)
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--drill", type=float, default=1.0, help="GB; 0 leaves the drill out")
    chosen = arguments.parse_args()
    if chosen.drill:
        report(drill(chosen.drill))
    with server(chosen.scale) as here:
        report(measure(here, chosen.runs))


def drill(gigabytes: float) -> list[Number]:
    """A drill of BookReader on a database of that size, its release started on what was restored."""
    with tempfile.TemporaryDirectory(prefix="ops-bench-") as folder:
        site = make_bookreader(Path(folder))
        try:
            site.inv("deploy")
            fill = FILL.replace("ROWS", f"{gigabytes * ROWS_OF_A_GIGABYTE:.0f}")
            psql = ("psql", SOCKET, "--username=bookreader", "--command", fill, "bookreader")
            run("docker", "exec", f"{site.app}-local-postgres-1", *psql)
            held = site.inv("backup", "--json").document["manifest"]["bytes"] / 1e9
            number = Number("drill, app booted on it", "s", 60, 30, note=f"{held:.2f} GB")
            document = site.inv("backup.drill", "--json").document
            number.runs.append(document["points"][0]["seconds"])
            return [number]
        finally:
            site.sweep()


def measure(here: Server, runs: int) -> list[Number]:
    """A dump, points and a restore by turns, so that what the machine does besides meets all alike."""
    dump, first, nightly = (
        Number("pg_dump -Fc into a file", "s"),
        Number("inv backup's take, all of it new", "s"),
        Number("inv backup's take, newest 1 % changed", "s"),
    )
    first_ratio, nightly_ratio = (
        Number("take / pg_dump, all of it new", "x", 1.3, 1.1),
        Number("take / pg_dump, newest 1 % changed", "x", 1.3, 1.1),
    )
    own, restored = Number("pg_restore -j 2 of that dump", "s"), Number("inv backup.restore's restore", "s")
    slower, added = Number("restore / pg_restore", "x", 1.2, 1.05), Number("added by the newest 1 % changed", "%", 5)
    for turn in range(runs):
        here.make_repository(str(turn))
        plain = timed(lambda: run("docker", "exec", here.name, "sh", "-c", PLAIN_DUMP))
        whole = timed(here.take)
        here.change(NEWEST)
        ours = timed(keep := Kept(here.take))
        added.runs.append(part_added(keep.value))
        back = timed(lambda: run("docker", "exec", here.name, "sh", "-c", PLAIN_RESTORE))
        beside = timed(partial(here.backup, "restore", str(keep.value["snapshot_id"]), "beside"))
        for number, value in (
            (dump, plain),
            (first, whole),
            (first_ratio, whole / plain),
            (nightly, ours),
            (nightly_ratio, ours / plain),
            (own, back),
            (restored, beside),
            (slower, beside / back),
        ):
            number.runs.append(value)
    times = [dump, first, first_ratio, nightly, nightly_ratio, own, restored, slower, added]
    return [*times, *spread(here), swap(here)]


def part_added(summary: dict[str, Any]) -> float:
    """Return what part of a point the repository had not got, in percent. Pure."""
    return float(100 * summary["data_added"] / summary["total_bytes_processed"])


def spread(here: Server) -> list[Number]:
    """What is added once every hundredth row was changed, and once the same rows were changed again.

    The first time each of restic's chunks has lost some row; the second time all of them stand together.
    """
    at_first, again = (
        Number("added by every hundredth row changed", "%", 5),
        Number("added by the same rows again", "%", 5),
    )
    for number in (at_first, again):
        here.change(SPREAD)
        summary = here.take()
        number.runs.append(part_added(summary))
        rows = int(here.sql("psql", "-qtAc", "SELECT count(*) FROM pgbench_accounts", "bench"))
        apart = 100 * summary["total_bytes_processed"] / rows / 1000
        number.note = (
            f"a changed row in each {apart:.0f} kB of the dump, and restic's chunks have {SMALLEST_CHUNK} kB or more"
        )
    again.note = "the change before has moved them all to the end of the table"
    return [at_first, again]


def swap(here: Server) -> Number:
    """How long nobody can write while two databases change their names."""
    number = Number("swap, nobody can write", "s", 1)
    for turn in range(SWAPS):
        here.sql("createdb", "next")
        number.runs.append(float(here.backup("swap", "bench", f"kept{turn}", "next").split()[-1]) / 1000)
    return number


PLAIN_DUMP = "pg_dump --host=/var/run/postgresql --username=bench -Fc --file=$PGDATA/bench.dump bench"
PLAIN_RESTORE = (
    "own='--host=/var/run/postgresql --username=bench'; dropdb $own --if-exists plain; createdb $own plain; "
    "pg_restore $own -j 2 --dbname=plain $PGDATA/bench.dump"
)


class Kept:
    """Work whose result is kept while it is timed."""

    def __init__(self, work: Callable[[], dict[str, Any]]) -> None:
        """Remember what is to be done."""
        self.work, self.value = work, dict[str, Any]()

    def __call__(self) -> None:
        """Do it."""
        self.value = self.work()


if __name__ == "__main__":
    main()
