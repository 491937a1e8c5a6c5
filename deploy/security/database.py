"""Trivy's vulnerability database on this machine: fetched or brought, whole, and as old as it may be."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError
from deploy.hosts.local import LocalHost
from deploy.security import boltdb, trivy
from deploy.security.programs import last_line, program, run
from deploy.security.trivy import Data

PAUSES = (1.0, 3.0, 9.0)  # seconds between attempts at the database
TRANSIENT = re.compile(r"\b429\b|TOOMANYREQUESTS|\b5\d\d\b|timeout|reset by peer|\bEOF\b", re.IGNORECASE)


def cache_folder(settings: Settings) -> Path:
    """Return where scanners keep data and analysed layers; of other databases elsewhere, so that none is mixed up."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bookreader-ops" / "trivy"
    return home / hashlib.sha256(json.dumps(settings.scan.databases).encode()).hexdigest()[:8]


@contextmanager
def alone(settings: Settings) -> Iterator[None]:
    """Let one process of this machine use Trivy's cache at a time: a second one would fail."""
    folder = cache_folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def update(settings: Settings, here: LocalHost, *, now: datetime | None = None) -> tuple[Data, str]:
    """Bring the vulnerability database up to date, and judge what is there then; return also why that failed."""
    folder, chosen = cache_folder(settings) / "db", settings.scan.databases
    brought = len(chosen) == 1 and chosen[0].startswith("/")
    with alone(settings):
        if boltdb.damage(folder / "trivy.db"):
            shutil.rmtree(folder, ignore_errors=True)  # Trivy would take it for current by its metadata
        failed = take(Path(chosen[0]) / "db", folder) if brought else fetch(settings, here)
        damage = boltdb.damage(folder / "trivy.db") or (mixture(folder) if brought else "")
        releases, damage = read_releases(folder / "trivy.db", damage)
    metadata = here.read(folder / "metadata.json")
    judged = trivy.database(metadata, now or datetime.now(UTC), settings.scan.database_hours, damage)
    judged = replace(judged, releases=releases)
    return judged, f"{judged.unknown}: {failed}" if judged.unknown and failed else ""


def read_releases(path: Path, damage: str) -> tuple[frozenset[str], str]:
    """Return for what a whole database has advisories, and what is wrong with it."""
    try:
        return (frozenset(), damage) if damage else (boltdb.buckets(path), "")
    except (OSError, ValueError) as error:
        return frozenset(), str(error)


def fetch(settings: Settings, here: LocalHost) -> str:
    """Fetch the database from the first repository that gives it; return what failed at all of them.

    Trivy itself goes on to the next for some answers, and not where nobody answers.
    """
    failures = list[str]()
    for chosen in [[one] for one in settings.scan.databases] or [[]]:
        try:
            download(program("trivy", settings), settings, here, chosen)
        except OpsError as error:
            failures.append(last_line(error.what))
        else:
            return ""
    return "; ".join(failures)


def take(source: Path, to: Path) -> str:
    """Copy a database from a folder, where it is another, whole or not at all; return what failed."""
    part = to.with_name("part")
    try:
        before = stamps(source)
        if not to.is_dir() or stamps(to) != before:
            for folder in (part, to):
                shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(source, part)
            if stamps(source) != before:
                return f"{source} changed while it was copied"
            part.rename(to)
    except OSError as error:
        shutil.rmtree(to, ignore_errors=True)
        return f"{error.filename or source}: {error.strerror or error}"
    return ""


def stamps(folder: Path) -> tuple[bytes, list[tuple[int, int]]]:
    """Return what tells one database from another: its metadata, size and time, which a copy keeps."""
    found = [path.stat() for path in folder.glob("trivy.db")]
    return (folder / "metadata.json").read_bytes(), [(one.st_size, int(one.st_mtime)) for one in found]


def mixture(folder: Path) -> str:
    """Say that a database is older than its metadata, the smaller file, which whoever brings both brings first.

    It is written on after its metadata: https://github.com/aquasecurity/trivy-db/blob/main/pkg/vulndb/db.go
    """
    with suppress(OSError, ValueError):  # which judging it says
        updated = trivy.Database.model_validate_json((folder / "metadata.json").read_text()).updated.timestamp()
        written = (folder / "trivy.db").stat().st_mtime
        if written < updated:
            made = datetime.fromtimestamp(written, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            return f"trivy.db was written at {made}, before the time in its metadata.json: a copy that has not ended"
    return ""


def download(path: str, settings: Settings, here: LocalHost, chosen: Sequence[str]) -> None:
    """Fetch the database, unless the one that is there is current; again where that may help."""
    words = trivy.download(path, str(cache_folder(settings)), chosen, within=settings.scan.within)
    for pause in (*PAUSES, None):
        try:
            run(words, settings, here)
            return
        except CommandFailed as error:
            if pause is None or not TRANSIENT.search(error.output):
                raise
            console.say(f"the vulnerability database was not given: {last_line(error.output)}; again in {pause:.0f} s")
            time.sleep(pause)
