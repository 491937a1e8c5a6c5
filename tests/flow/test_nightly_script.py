"""The script of the night, run by a shell where docker is a script: who is notified when it cannot do its work."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from deploy.backups import schedule
from deploy.core.poll import wait_until
from deploy.core.shell import LONG
from tests.flow.test_drill import Place

DOCKER = """#!/bin/sh
echo "$*" >>{folder}/asked
case " $* " in
  *" notify "*) cat >{folder}/notified ;;
  *" take "*) echo $$ >{folder}/taking; {take} ;;
  *" offsite "*) exec sleep 60 ;;
  *) exit 1 ;;
esac
"""


class Night:
    """One night of a host."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.folder, self.state = folder, folder / "state"
        (self.state / "metrics").mkdir(parents=True)
        script = schedule.render(place.repository, self.state)
        self.script = self.state / schedule.SCRIPT
        # the app of these tests has no service that notifies
        self.script.write_text(re.sub("(?m) false$", " docker run notify it", script))
        (self.state / "ledger.jsonl").write_text('{"release":"r2","outcome":"in service"}\n')
        (self.state / schedule.ORDER).write_text("{}\n")

    def start(self, take: str) -> subprocess.Popen[bytes]:
        """Begin it with a dump that does this."""
        docker = self.folder / "bin" / "docker"
        docker.parent.mkdir()
        docker.write_text(DOCKER.format(folder=self.folder, take=take))
        docker.chmod(0o755)
        path = f"{docker.parent}:{os.environ['PATH']}"
        return subprocess.Popen(
            ["env", "--default-signal=HUP", "sh", str(self.script)],  # whoever runs the tests may ignore it
            env={"PATH": path},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def words(self) -> str:
        """What people were sent."""
        file = self.folder / "notified"
        return file.read_text() if file.exists() else ""

    def metrics(self) -> str:
        """What the node exporter reads."""
        return (self.state / "metrics" / "backup.prom").read_text()


@pytest.fixture
def night(tmp_path: Path) -> Night:
    """A night of an app's host."""
    (tmp_path / "place").mkdir()
    return Night(tmp_path, Place(tmp_path / "place"))


def test_a_night_without_room_for_its_own_files_notifies_people(night: Night) -> None:
    (night.state / "metrics" / "backup.prom.part").mkdir()  # as on a full disk: it cannot be written
    assert night.start("exit 1").wait(20)
    assert "error: " in night.words()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_night_that_is_ended_by_a_signal_reports_it_and_leaves_no_process(
    night: Night, number: signal.Signals, code: int
) -> None:
    running = night.start("exec sleep 60")
    assert wait_until(lambda: (night.folder / "taking").exists(), 10)
    began = time.monotonic()
    running.send_signal(number)
    assert running.wait(20) == code
    assert time.monotonic() - began < 10, "it does not wait for the dump"
    assert "it was ended by a signal" in night.words()
    assert f'exit_code{{app="shop-local"}} {code}' in night.metrics()
    assert 'notified{app="shop-local"} 1' in night.metrics()
    left = ["pgrep", "--session", str(running.pid), "--full", schedule.SCRIPT]  # its loop sleeps on
    assert wait_until(lambda: not subprocess.run(left, capture_output=True).stdout.split(), 10)


@pytest.mark.parametrize(
    ("take", "code", "words", "container"),
    [
        ("exec sleep 60", 124, "the dump did not end within 1 s", "shop-local-backup"),
        (
            """echo '{"rows":{}}'; echo '{"snapshot_id":"cafe0123"}'""",
            1,
            "point cafe0123 is not off-site: the copy did not end within 1 s",
            "shop-local-backup-offsite",
        ),
    ],
    ids=["dump", "copy"],
)
def test_what_hangs_is_ended_and_people_are_notified(
    night: Night, take: str, code: int, words: str, container: str
) -> None:
    (night.state / "releases" / "r2").mkdir(parents=True)
    (night.state / "releases" / "r2" / "shared.yml").write_text("      BACKUP_OFFSITE: sftp://vault.example.org//srv\n")
    text = night.script.read_text()
    assert f"within={LONG}" in text
    night.script.write_text(text.replace(f"within={LONG}", "within=1"))
    assert night.start(take).wait(20) == code
    assert words in night.words()
    assert f"rm --force {container}" in (night.folder / "asked").read_text().splitlines()
