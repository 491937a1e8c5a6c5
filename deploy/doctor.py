"""What this machine lacks, and the command that mends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass

from deploy import checkout, console, secrets
from deploy.errors import GateClosed, OpsError
from deploy.hosts.local import LocalHost
from deploy.settings import Settings
from deploy.shell import Command, command, docker

STORE_CHANGE = """put {"features": {"containerd-snapshotter": true}} into /etc/docker/daemon.json and restart docker"""
RESTORE_CHANGE = """put {"live-restore": true} into /etc/docker/daemon.json and reload docker: else all stops when the engine crashes"""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ok, missing (stops work) or advice."""

    what: str
    state: str
    mend: str = ""


def examine(settings: Settings, host: LocalHost) -> list[Finding]:
    """Look at everything that the commands need."""
    return [
        finding(host, "Docker engine", docker("version", "--format", "{{.Server.Version}}"), "./scripts/quickstart"),
        finding(host, "docker buildx", docker("buildx", "version"), "apt-get install docker-buildx"),
        finding(host, "docker compose", docker("compose", "version"), "apt-get install docker-compose"),
        finding(host, "git", command("git", "--version"), "apt-get install git"),
        setting(host, "image store", "{{json .DriverStatus}}", "io.containerd.snapshotter", STORE_CHANGE),
        setting(host, "live restore", "{{.LiveRestoreEnabled}}", "true", RESTORE_CHANGE),
        mmdebstrap(),
        disk(settings, host),
        attempt("git checkout", lambda: checkout.read(settings.root, host)),
        attempt("secrets", lambda: secrets.read(settings.secrets_file, settings.root / secrets.EXAMPLE)),
    ]


def finding(host: LocalHost, what: str, ask: Command, mend: str) -> Finding:
    """Look whether a program answers."""
    try:
        works = host.try_run(ask, timeout=20).returncode == 0
    except OpsError:
        works = False
    return Finding(what, "ok" if works else "missing", "" if works else mend)


def attempt(what: str, look: Callable[[], object]) -> Finding:
    """Look by doing what a command would do."""
    try:
        look()
    except OpsError as error:
        return Finding(what, "missing", f"{error.what}; {error.then}")
    return Finding(what, "ok")


def setting(host: LocalHost, what: str, ask: str, wanted: str, mend: str) -> Finding:
    """Look at a setting of the engine."""
    try:
        good = wanted in host.run(docker("info", "--format", ask), timeout=20)
    except OpsError:
        return Finding(what, "unknown", "the engine does not answer")
    return Finding(what, "ok" if good else "advice", "" if good else mend)


def mmdebstrap() -> Finding:
    """Look for the tool that builds base images where no registry answers."""
    here = shutil.which("mmdebstrap")
    advice = "only where no image registry answers: apt-get install mmdebstrap uidmap"
    return Finding("mmdebstrap", "ok" if here else "advice", "" if here else advice)


def disk(settings: Settings, host: LocalHost) -> Finding:
    """Look at the free space."""
    free = host.free_bytes(settings.state_dir) / 1e9
    enough = free >= settings.rollout.free_disk_gb
    return Finding(f"disk ({free:.0f} GB free)", "ok" if enough else "missing", "" if enough else "docker system df; docker image prune")


def show(findings: list[Finding], *, json: bool) -> None:
    """Show the findings; raise GateClosed when something is missing or could not be looked at."""
    if json:
        console.document([asdict(found) for found in findings])
    else:
        console.table(["", "what", "mend it with"], [[found.state, found.what, found.mend] for found in findings])
    bad = [found.what for found in findings if found.state in ("missing", "unknown")]
    if bad:
        closed = GateClosed(f"not ready: {', '.join(bad)}", then="the commands in the table")
        closed.documented = json
        raise closed
