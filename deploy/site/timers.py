"""A program that a host runs by itself at a time of day: by systemd where it runs, else by cron."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from deploy.core.errors import Refused
from deploy.core.shell import LONG, command, query
from deploy.hosts.host import Host

UNITS, CRON = Path("/etc/systemd/system"), Path("/etc/cron.d")
LIMIT = 3 * LONG  # seconds after which systemd ends what a timer runs: a dump and a copy, and what is around them
DAEMONS = frozenset({"cron", "crond"})
RUNNING = "cat /proc/[0-9]*/comm 2>/dev/null"  # the names of all processes; pgrep may not be there
SERVICE = """# written by {by}
[Unit]
Description={what}
After=docker.service

[Service]
Type=oneshot
ExecStart={line}
TimeoutStartSec={limit}s
"""
TIMER = """# written by {by}
[Unit]
Description={what}

[Timer]
OnCalendar=*-*-* {hours}:{minute:02}:00 UTC
RandomizedDelaySec={jitter}min
Persistent=true

[Install]
WantedBy=timers.target
"""
CRONTAB = """# written by {by}: {what}
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
{minute} {hours} * * * root {line}
"""


@dataclass(frozen=True)
class Timer:
    """A command line of a host, when it runs (time of day in UTC, minutes later at most), and who wrote it.

    It runs every so many hours, a day at most; `at` is one of the times.
    """

    name: str
    what: str
    line: str
    at: str
    jitter: int
    by: str
    every: int = 24


def files(timer: Timer, *, systemd: bool) -> dict[Path, str]:
    """Return the files that make a timer, by their paths. Pure."""
    words = {"by": timer.by, "what": timer.what, "line": timer.line, "jitter": timer.jitter, "limit": LIMIT}
    if systemd:
        hour, minute = map(int, timer.at.split(":"))
        words |= {"hours": f"{hour % timer.every:02}/{timer.every}" if timer.every < 24 else f"{hour:02}"}
        words |= {"minute": minute}
        return {
            UNITS / f"{timer.name}.service": SERVICE.format(**words),
            UNITS / f"{timer.name}.timer": TIMER.format(**words),
        }
    hour, minute = later(timer)
    hours = f"{hour % timer.every}-23/{timer.every}" if timer.every < 24 else str(hour)
    return {CRON / timer.name: CRONTAB.format(hours=hours, minute=minute, **words)}


def later(timer: Timer) -> tuple[int, int]:
    """Return hour and minute of a timer with its jitter, which its name decides: the same again next time. Pure."""
    hour, minute = map(int, timer.at.split(":"))
    jitter = int(hashlib.sha256(timer.name.encode()).hexdigest(), 16) % (timer.jitter + 1)
    return divmod((hour * 60 + minute + jitter) % (24 * 60), 60)


def is_systemd(host: Host) -> bool:
    """Tell whether systemd runs a host."""
    return host.try_run(query("test", "-d", "/run/systemd/system")).returncode == 0


def kind(host: Host) -> bool:
    """Tell whether systemd runs a host; raise Refused where neither it nor cron does, or we are not root there."""
    if host.run(query("id", "-u")).strip() != "0":
        then = "ssh.sudo = true, or ssh.user = root; on this machine run it as root"
        raise Refused("timers are installed by root", where=host.name, then=then, slug="not-root")
    if is_systemd(host):
        return True
    if not host.listdir(CRON):
        then = f"apt-get install cron, on {host.name}"
        raise Refused("the host has neither systemd nor cron", where=host.name, then=then, slug="no-timer")
    return False


def has_cron(host: Host) -> bool:
    """Tell whether cron runs on a host."""
    return bool(DAEMONS & {*host.try_run(query("sh", "-c", RUNNING)).stdout.split("\n")})


def is_armed(host: Host, timer: Timer) -> bool:
    """Tell whether what fires timers on a host runs, and knows this one; nobody need be root for that."""
    if is_systemd(host):
        return host.try_run(query("systemctl", "is-active", "--quiet", f"{timer.name}.timer")).returncode == 0
    return host.read(CRON / timer.name) is not None and has_cron(host)


def require(host: Host) -> bool:
    """Tell whether systemd runs a host; raise Refused where no timer would be fired there."""
    systemd = kind(host)
    if not systemd and not has_cron(host):
        then = f"apt-get install cron, then service cron start, on {host.name}"
        raise Refused(
            "cron does not run on the host, and would fire nothing", where=host.name, then=then, slug="no-timer"
        )
    return systemd


def install(host: Host, timer: Timer) -> str:
    """Install a timer, or bring it to what it should be; return when it runs, in words."""
    systemd = require(host)
    for path, text in files(timer, systemd=systemd).items():
        host.write(path, text)
    often = f", every {timer.every} hours" if timer.every < 24 else ""
    if not systemd:
        hour, minute = later(timer)
        return f"by cron, at {hour:02}:{minute:02} of its own clock{often}"
    host.run(command("systemctl", "daemon-reload"))
    host.run(command("systemctl", "enable", "--now", f"{timer.name}.timer"))
    return f"by systemd, at {timer.at} UTC and up to {timer.jitter} minutes later{often}"


def remove(host: Host, timer: Timer) -> None:
    """Take a timer away; one that is not there is fine."""
    systemd = kind(host)
    if systemd:
        host.try_run(command("systemctl", "disable", "--now", f"{timer.name}.timer"))
    for path in files(timer, systemd=systemd):
        host.remove(path)
    if systemd:
        host.run(command("systemctl", "daemon-reload"))
