"""The files of a timer. Pure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.core.errors import Refused
from deploy.core.shell import Command, Result
from deploy.site.timers import Timer, files, install, later

NIGHTLY = Timer("shop-prod-backup", "recovery point of shop-prod", "/bin/sh /state/backup.sh", "23:50", 30, "inv x")


def test_systemd_catches_up_and_spreads() -> None:
    made = files(NIGHTLY, systemd=True)
    service, timer = (made[Path("/etc/systemd/system") / f"shop-prod-backup.{kind}"] for kind in ("service", "timer"))
    assert "ExecStart=/bin/sh /state/backup.sh\n" in service
    assert "OnCalendar=*-*-* 23:50:00 UTC\nRandomizedDelaySec=30min\nPersistent=true\n" in timer


def test_cron_runs_at_a_minute_that_the_name_decides() -> None:
    (path,) = made = files(NIGHTLY, systemd=False)
    hour, minute = later(NIGHTLY)
    assert path == Path("/etc/cron.d/shop-prod-backup")
    assert f"\n{minute} {hour} * * * root /bin/sh /state/backup.sh\n" in made[path]
    assert (hour, minute) >= (23, 50) or (hour, minute) <= (0, 20)
    assert later(NIGHTLY) == (hour, minute)
    assert later(replace(NIGHTLY, jitter=0)) == (23, 50)


def test_what_runs_every_six_hours_has_its_minute_at_each_of_them() -> None:
    often = replace(NIGHTLY, at="00:30", jitter=0, every=6)
    timer = files(often, systemd=True)[Path("/etc/systemd/system/shop-prod-backup.timer")]
    assert "OnCalendar=*-*-* 00/6:30:00 UTC\n" in timer
    (crontab,) = files(often, systemd=False).values()
    assert "\n30 0-23/6 * * * root /bin/sh /state/backup.sh\n" in crontab
    late = files(replace(often, at="23:50"), systemd=False)[Path("/etc/cron.d/shop-prod-backup")]
    assert "\n50 5-23/6 * * * root" in late


class Bare:
    """A host without systemd, with cron's folder, on which these programs run."""

    name = "app1"

    def __init__(self, *programs: str) -> None:
        self.programs, self.written = programs, list[Path]()

    def run(self, command: Command) -> str:
        return "0\n"

    def try_run(self, command: Command) -> Result:
        return Result(0, "\n".join(self.programs), "") if command.argv[0] == "sh" else Result(1, "", "")

    def listdir(self, path: Path) -> tuple[str, ...]:
        return (".placeholder",)

    def write(self, path: Path, text: str) -> None:
        self.written.append(path)


def test_where_cron_does_not_run_nothing_is_installed() -> None:
    bare: Any = Bare("init", "cronolog")
    with pytest.raises(Refused) as refused:
        install(bare, NIGHTLY)
    assert (refused.value.slug, bare.written) == ("no-timer", [])
    assert "service cron start, on app1" in refused.value.then
    runs: Any = Bare("init", "cron")
    assert install(runs, NIGHTLY).startswith("by cron, at ")
    assert runs.written == [Path("/etc/cron.d/shop-prod-backup")]


def test_systemd_ends_what_hangs() -> None:
    service = files(NIGHTLY, systemd=True)[Path("/etc/systemd/system/shop-prod-backup.service")]
    assert f"\nTimeoutStartSec={3 * 4 * 3600}s\n" in service
