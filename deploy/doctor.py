"""What this machine lacks, and the command that fixes it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace

from deploy.backups import escrow
from deploy.config import checkout, compose, secrets
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import MachineFailed, OpsError, Refused, acting
from deploy.core.shell import command, docker
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.images import bases, builder
from deploy.images import build as images
from deploy.provisioning import drift
from deploy.rollout import preflight
from deploy.security import programs
from deploy.site.checks import Check
from deploy.state.store import require_folder

CLOCK_SECONDS = 2  # by which a host's clock may differ
OWN = ("inv doctor", "inv hosts.check")  # what is advised elsewhere, and is being done here
LIVE_RESTORE = docker("info", "--format", "{{.LiveRestoreEnabled}}")
STORE_CHANGE = """put {"features": {"containerd-snapshotter": true}} into /etc/docker/daemon.json and restart docker"""
RESTORE_CHANGE = (
    'put {"live-restore": true} into /etc/docker/daemon.json and reload docker: else all stops when the engine crashes'
)


def examine(settings: Settings, host: LocalHost) -> list[Check]:
    """Check everything that the commands need of this machine, by doing what they do."""
    if settings.hosts:
        console.say(acting("these checks are of this machine; inv hosts.check checks the hosts", settings.env))
    return [
        attempt("Docker engine", lambda: host.engine.require()),
        attempt("docker buildx", lambda: images.require_buildx(host)),
        attempt("docker compose", lambda: compose.require_plugin(host)),
        attest("builder", lambda: builder.check_builder(host)),
        attest("platform", lambda: builder.check_platform(settings, host)),
        attest("proxies", lambda: builder.check_proxies(host), advice=True),
        attempt("git", git),
        setting("image store", lambda: images.uses_containerd_store(host), STORE_CHANGE),
        setting("live restore", lambda: host.run(LIVE_RESTORE).strip() == "true", RESTORE_CHANGE),
        attempt("mmdebstrap", bases.require_mmdebstrap, advice=True),
        attempt("scanners", lambda: programs.require_programs(settings), advice=True),
        attempt("disk", lambda: room(settings, host)),
        attempt("git checkout", lambda: checkout.read(settings.root, host)),
        attempt(
            "secrets",
            lambda: secrets.read(settings),
        ),
        *([] if settings.hosts else escrow.checks(settings, host)),
    ]


def examine_hosts(at: Environment) -> list[Check]:
    """Check what each host must have, and what differs from how it was provisioned; refuse one without hosts."""
    if not at.remote:
        then = "--env=NAME of one that has; inv doctor looks at this machine"
        raise Refused(
            f"{at.settings.env} has no hosts", where=f"{at.settings.env}.toml", then=then, slug="hosts-missing"
        )
    checks = at.each(lambda host: examine_host(at.settings, host))
    reached = [name for name, own in checks.items() if own[0].result == "PASS"]
    return [*(check for own in checks.values() for check in own), *drift.examine(at, reached)]


def examine_host(settings: Settings, host: Host) -> list[Check]:
    """Check what one host must have; nothing more when it is not reached."""
    reached = attempt(f"{host.name}: connection", lambda: host.run(command("true")))
    if reached.result != "PASS":
        return [reached]
    acts: list[tuple[str, Callable[[], object]]] = [
        ("flock", lambda: host.run(command("flock", "--version"))),
        ("Docker engine", host.engine.require),
        ("docker compose", lambda: compose.require_plugin(host)),
        ("state folder", lambda: require_folder(settings.state_dir, host)),
        ("disk", lambda: room(settings, host)),
        ("clock", lambda: clock(host)),
        ("forwarding", lambda: host.get(1, "/")),
    ]
    checks = [attempt(f"{host.name}: {asked}", act) for asked, act in acts]
    return [
        reached,
        *checks,
        setting(f"{host.name}: image store", lambda: images.uses_containerd_store(host), STORE_CHANGE),
        setting(f"{host.name}: live restore", lambda: host.run(LIVE_RESTORE).strip() == "true", RESTORE_CHANGE),
        *(replace(check, asked=f"{host.name}: {check.asked}") for check in escrow.checks(settings, host)),
    ]


def clock(host: Host) -> None:
    """Refuse a host whose clock differs: logs, locks and certificates are compared by time."""
    before = time.time()
    there = float(host.run(command("date", "+%s.%N")))
    after = time.time()
    if there - after > CLOCK_SECONDS or before - there > CLOCK_SECONDS:
        what = f"its clock differs from this machine's by {there - after:+.0f} s"
        raise Refused(what, then="timedatectl set-ntp true, on both", slug="clock-differs")


def attempt(asked: str, act: Callable[[], object], *, advice: bool = False) -> Check:
    """Check by doing what a command would do."""

    def done() -> str:
        act()
        return ""

    return attest(asked, done, advice=advice)


def attest(asked: str, act: Callable[[], str], *, advice: bool = False) -> Check:
    """Check by doing what a command would do, which says its evidence."""
    try:
        evidence = act()
    except OSError as error:
        failed = MachineFailed(error)
        return Check(asked, "UNKNOWN", f"{failed.where}: {failed.what}")
    except OpsError as error:
        return Check(asked, "FAIL", error.what, "" if error.then.startswith(OWN) else error.then, advice)
    return Check(asked, "PASS", evidence)


def git() -> None:
    """Refuse a machine without git."""
    if not shutil.which("git"):
        raise Refused("it is not installed", then="apt-get install git", slug="program-missing")


def room(settings: Settings, host: Host) -> None:
    """Refuse disks that are too full for a release."""
    if low := preflight.low_disk(settings, host):
        raise Refused("\n".join(low), then="inv disk", slug="disk-full")


def setting(asked: str, is_set: Callable[[], bool], change: str) -> Check:
    """Check a setting of the engine, which is advice."""
    try:
        return Check(asked, "PASS") if is_set() else Check(asked, "FAIL", "it is not set", change, advice=True)
    except (OpsError, OSError):
        return Check(asked, "UNKNOWN", "the engine does not answer")
