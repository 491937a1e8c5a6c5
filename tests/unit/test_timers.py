"""The files of a timer. Pure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from deploy.site.timers import Timer, files, later

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
