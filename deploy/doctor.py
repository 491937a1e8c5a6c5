"""What this machine lacks, and the command that mends it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Literal

from deploy import checkout, compose, console, secrets
from deploy.errors import GateClosed, OpsError, Refused
from deploy.hosts.local import LocalHost
from deploy.images import bases
from deploy.images import build as images
from deploy.rollout import preflight
from deploy.settings import Settings
from deploy.shell import docker

State = Literal["ok", "missing", "advice", "unknown"]
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
    """Look at everything that the commands need, by doing what they do."""
    return [
        attempt("Docker engine", lambda: images.require_engine(host)),
        attempt("docker buildx", lambda: images.require_buildx(host)),
        attempt("docker compose", lambda: compose.require_plugin(host)),
        attempt("git", git),
        setting("image store", lambda: images.uses_containerd_store(host), STORE_CHANGE),
        setting("live restore", lambda: host.run(LIVE_RESTORE).strip() == "true", RESTORE_CHANGE),
        attempt("mmdebstrap", bases.require_mmdebstrap, "advice"),
        attempt("disk", lambda: room(settings, host)),
        attempt("git checkout", lambda: checkout.read(settings.root, host)),
        attempt("secrets", lambda: secrets.read(settings.secrets_file, settings.root / secrets.EXAMPLE)),
    ]


def attempt(what: str, look: Callable[[], object], otherwise: State = "missing") -> Finding:
    """Look by doing what a command would do."""
    try:
        look()
    except OpsError as error:
        return Finding(what, otherwise, f"{error.what}; {error.then}")
    return Finding(what, "ok")


def git() -> None:
    """Refuse a machine without git."""
    if not shutil.which("git"):
        raise Refused("it is not installed", then="apt-get install git")


def room(settings: Settings, host: LocalHost) -> None:
    """Refuse disks that are too full for a release."""
    if low := preflight.disk(settings, host):
        raise Refused("\n".join(low), then="inv disk")


def setting(what: str, good: Callable[[], bool], mend: str) -> Finding:
    """Look at a setting of the engine."""
    try:
        return Finding(what, "ok") if good() else Finding(what, "advice", mend)
    except OpsError:
        return Finding(what, "unknown", "the engine does not answer")


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
