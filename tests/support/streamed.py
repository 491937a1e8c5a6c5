"""A PostgreSQL whose WAL a container receives: written to, killed, and recovered from what was received."""

from __future__ import annotations

import subprocess
import time
from contextlib import ExitStack
from dataclasses import dataclass

from deploy.backups import wal
from deploy.core.poll import wait_until
from tests.support.site import docker

TABLE = "CREATE TABLE IF NOT EXISTS acknowledged (id serial PRIMARY KEY)"
WRITER = """
while :; do echo 'INSERT INTO acknowledged DEFAULT VALUES RETURNING id;'; done \\
  | psql --host=/var/run/postgresql --username=bookreader -qtA bookreader"""


@dataclass(frozen=True)
class Streamed:
    """The containers of a database and of its receiver."""

    postgres: str
    receiver: str

    def sql(self, words: str) -> str:
        """Ask the database as its owner."""
        line = ["psql", "--host=/var/run/postgresql", "--username=bookreader", "-qtAc", words, "bookreader"]
        return docker("exec", self.postgres, *line).strip()

    def held(self) -> tuple[wal.Stretch, ...]:
        """What was received."""
        return wal.read(docker("exec", self.receiver, "held"))

    def await_held(self) -> None:
        """Wait until the newest commit is held on a base backup; one before the first never is."""
        assert wait_until(lambda: any(one.usable for one in self.held()[-1:]), 60), self.held()
        moment = wal.asked_for(self.sql("SELECT clock_timestamp()")).moment
        assert moment
        assert wait_until(lambda: self.reaches(moment), 60), self.held()

    def reaches(self, moment: object) -> bool:
        """Tell whether a moment is held in the newest stretch."""
        newest = self.held()[-1:]
        return any(wal.reaches(newest[0], base, moment) for base in newest[0].usable) if newest else False  # type: ignore[arg-type]

    def killed_while_written(self, seconds: float) -> list[tuple[int, float]]:
        """Kill the database while somebody writes; return the ids that were acknowledged, and when each was."""
        words = ["docker", "exec", self.postgres, "sh", "-c", WRITER]
        acknowledged = list[tuple[int, float]]()
        with (
            ExitStack() as killing,
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as writer,
        ):
            assert writer.stdout
            began = time.monotonic()
            for line in writer.stdout:
                if line.strip().isdigit():
                    acknowledged.append((int(line), time.monotonic()))
                if time.monotonic() - began > seconds:
                    kill = ["docker", "kill", self.postgres]
                    killing.enter_context(subprocess.Popen(kill, stdout=subprocess.DEVNULL))
                    began = float("inf")
        assert wait_until(
            lambda: docker("inspect", "--format={{.State.Running}}", self.postgres).strip() == "false", 20
        )
        return acknowledged

    def recovered(self) -> set[int]:
        """The ids of a database that is made of what was received, up to the last commit."""
        chosen = wal.choose(self.held()[-1:], wal.Asked(None), self.receiver)
        docker("exec", self.receiver, "recover", chosen.stretch, chosen.base, chosen.target)
        words = ["pg_restore", "--data-only", "--table=acknowledged", "--file=-", "/wal/recovered/point/database.dump"]
        return {int(line) for line in docker("exec", self.receiver, *words).splitlines() if line.strip().isdigit()}

    def start(self) -> None:
        """Start the database again, and wait until its WAL is received."""
        docker("start", self.postgres)
        assert wait_until(lambda: self.answers(), 60)
        self.await_held()

    def answers(self) -> bool:
        """Tell whether the database takes commands."""
        words = ["docker", "exec", self.postgres, "pg_isready", "--host=127.0.0.1", "--username=bookreader"]
        return subprocess.run(words, capture_output=True).returncode == 0


def lost(acknowledged: list[tuple[int, float]], recovered: set[int]) -> float:
    """The seconds of acknowledged writes that were not recovered."""
    gone = [when for number, when in acknowledged if number not in recovered]
    return max(when for _, when in acknowledged) - min(gone) if gone else 0.0
