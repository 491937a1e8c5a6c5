"""What this machine lacks, and the command that mends it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Literal

from deploy.config import checkout, compose, secrets
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import GateClosed, MachineFailed, OpsError, Refused, acting
from deploy.core.shell import command, docker
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.images import bases
from deploy.images import build as images
from deploy.rollout import preflight
from deploy.state.store import require_folder

State = Literal["ok", "missing", "advice", "unknown"]
CLOCK_SECONDS = 2  # by which a host's clock may differ
OWN = ("inv doctor", "inv hosts.check")  # what is advised elsewhere, and is being done here
LIVE_RESTORE = docker("info", "--format", "{{.LiveRestoreEnabled}}")
STORE_CHANGE = """put {"features": {"containerd-snapshotter": true}} into /etc/docker/daemon.json and restart docker"""
RESTORE_CHANGE = """put {"live-restore": true} into /etc/docker/daemon.json and reload docker: else all stops when the engine crashes"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ok, missing (stops work), advice, or unknown."""

    what: str
    state: State
    mend: str = ""


def examine(settings: Settings, host: LocalHost) -> list[Finding]:
    """Look at everything that the commands need of this machine, by doing what they do."""
    elsewhere = (
        [Finding("hosts", "advice", "inv hosts.check looks at them; this is about the machine you sit at")] if settings.hosts else []
    )
    return [
        *elsewhere,
        attempt("Docker engine", lambda: host.engine.require()),
        attempt("docker buildx", lambda: images.require_buildx(host)),
        attempt("docker compose", lambda: compose.require_plugin(host)),
        attempt("git", git),
        setting("image store", lambda: images.uses_containerd_store(host), STORE_CHANGE),
        setting("live restore", lambda: host.run(LIVE_RESTORE).strip() == "true", RESTORE_CHANGE),
        attempt("mmdebstrap", bases.require_mmdebstrap, "advice"),
        attempt("disk", lambda: room(settings, host)),
        attempt("git checkout", lambda: checkout.read(settings.root, host)),
        attempt("secrets", lambda: secrets.read(settings.secrets_file, settings.root / secrets.EXAMPLE, named=bool(settings.secrets))),
    ]


def examine_hosts(at: Environment) -> list[Finding]:
    """Look at what each host must have, at several at once; refuse an environment without hosts."""
    if not at.remote:
        then = "--env=NAME of one that has; inv doctor looks at this machine"
        raise Refused(f"{at.settings.env} has no hosts", where=f"{at.settings.env}.toml", then=then)
    found = at.each(lambda host: examine_host(at.settings, host))
    return [finding for findings in found.values() for finding in findings]


def examine_host(settings: Settings, host: Host) -> list[Finding]:
    """Look at what one host must have; at nothing more when it is not reached."""
    reached = attempt(f"{host.name}: connection", lambda: host.run(command("true")))
    if reached.state != "ok":
        return [reached]
    looks: list[tuple[str, Callable[[], object]]] = [
        ("flock", lambda: host.run(command("flock", "--version"))),
        ("Docker engine", host.engine.require),
        ("docker compose", lambda: compose.require_plugin(host)),
        ("state folder", lambda: require_folder(settings.state_dir, host)),
        ("disk", lambda: room(settings, host)),
        ("clock", lambda: clock(host)),
        ("forwarding", lambda: host.get(1, "/")),
    ]
    found = [attempt(f"{host.name}: {what}", look) for what, look in looks]
    return [reached, *found, setting(f"{host.name}: image store", lambda: images.uses_containerd_store(host), STORE_CHANGE)]


def clock(host: Host) -> None:
    """Refuse a host whose clock differs: logs, locks and certificates are compared by time."""
    before = time.time()
    there = float(host.run(command("date", "+%s.%N")))
    after = time.time()
    if there - after > CLOCK_SECONDS or before - there > CLOCK_SECONDS:
        raise Refused(f"its clock differs from this machine's by {there - after:+.0f} s", then="timedatectl set-ntp true, on both")


def attempt(what: str, look: Callable[[], object], otherwise: State = "missing") -> Finding:
    """Look by doing what a command would do."""
    try:
        look()
    except OSError as error:
        told = MachineFailed(error)
        return Finding(what, otherwise, f"{told.where}: {told.what}")
    except OpsError as error:
        then = "" if error.then.startswith(OWN) else error.then
        return Finding(what, otherwise, "; ".join(filter(None, (error.what, then))))
    return Finding(what, "ok")


def git() -> None:
    """Refuse a machine without git."""
    if not shutil.which("git"):
        raise Refused("it is not installed", then="apt-get install git")


def room(settings: Settings, host: Host) -> None:
    """Refuse disks that are too full for a release."""
    if low := preflight.disk(settings, host):
        raise Refused("\n".join(low), then="inv disk")


def setting(what: str, good: Callable[[], bool], mend: str) -> Finding:
    """Look at a setting of the engine."""
    try:
        return Finding(what, "ok") if good() else Finding(what, "advice", mend)
    except (OpsError, OSError):
        return Finding(what, "unknown", "the engine does not answer")


def show(findings: list[Finding], env: str, *, json: bool) -> None:
    """Show the findings, with commands for their environment; raise GateClosed when something is missing or could not be looked at."""
    findings = [replace(found, mend=acting(found.mend, env)) for found in findings]
    if json:
        console.document([asdict(found) for found in findings])
    else:
        console.table(["", "what", "mend it with"], [[found.state, found.what, found.mend] for found in findings])
    bad = [found.what for found in findings if found.state in ("missing", "unknown")]
    if bad:
        raise GateClosed(f"not ready: {', '.join(bad)}", then="the commands in the table", documented=json)
