"""Take a recovery point, list those that are there, read one back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.backups.points import Evidence, Manifest, Point
from deploy.backups.repository import Repository, repository_of
from deploy.config.environment import Environment
from deploy.core import console, yaml
from deploy.core.errors import OpsError
from deploy.core.model import LABEL
from deploy.state import locks
from deploy.state.folder import now

DATA = "/data/"  # where the backup service has what it saves
KEEPING = ("data", "web", "worker", "scheduler")  # roles of services whose volumes hold what somebody made


@dataclass(frozen=True)
class Taken:
    """A recovery point that was just taken, its manifest, what it does not hold, and how long it took."""

    point: str
    manifest: Manifest
    left_out: tuple[str, ...]
    seconds: float


def backup(at: Environment, within: float = 0) -> Taken:
    """Take a recovery point of the database, the declared volumes and the state folder; a deploy goes on beside it.

    Another backup is waited for `within` so many seconds.

    Raises OpsError where it holds so much less than the one before that it is suspect: it stays, and is marked.
    """
    started, repository = time.monotonic(), repository_of(at)
    with locks.held([repository.run.host], at.settings.state_dir, "backup", name="dump", within=within):
        with console.step("dump the database, save it, read the manifest back"):
            point, manifest = repository.take()
        release = repository.run.release.id
        repository.evidence.add(Evidence(point=point, state="taken", time=now(), release=release, manifest=manifest))
        newest = repository.point(point)
    if newest.losses:
        raise suspect(repository, newest)
    return Taken(point, manifest, left_out(repository.run.bundle.files), round(time.monotonic() - started, 1))


def suspect(repository: Repository, point: Point) -> OpsError:
    """Say that a backup was taken that nobody should rely on."""
    words = "\n    ".join([f"recovery point {point.id} holds much less than the one before:", *point.losses])
    then = (
        f"look at the data; where it is right, inv backup.drill {point.id} makes the point count; "
        "else inv backup.list names earlier points"
    )
    return OpsError(words, where=f"{repository.run.host.name}: database {repository.service.name} saves", then=then,
                    slug="backup-suspect")  # fmt: skip


def left_out(files: Mapping[str, str]) -> tuple[str, ...]:
    """Name the volumes of a release's rendered files that no backup holds and nobody declared to be no data. Pure."""
    shared, colour = (yaml.load_rendered(files[name]) for name in ("shared.yml", "blue.yml"))
    specs = [spec for file in (shared, colour) for spec in file["services"].values() if spec.get("labels")]
    names = {**(colour.get("volumes") or {}), **(shared.get("volumes") or {})}
    saved = {
        source for spec in specs for source in volumes(spec, DATA if role(spec) == "backup" else "")
        if role(spec) in ("backup", "edge")
    }  # fmt: skip
    words = [
        f"{names[source]['name']} ({spec['labels'][f'{LABEL}.service']})"
        for spec in specs if role(spec) in KEEPING and not spec["labels"].get(f"{LABEL}.backup")
        for source in volumes(spec) if source not in saved
    ]  # fmt: skip
    return tuple(dict.fromkeys(words))


def role(spec: Mapping[str, Any]) -> str:
    """Return the role of a rendered service. Pure."""
    return str(spec["labels"].get(f"{LABEL}.role", ""))


def volumes(spec: Mapping[str, Any], below: str = "") -> list[str]:
    """Name the volumes that a rendered service mounts, those below one folder or all. Pure."""
    mounts = spec.get("volumes") or []
    own = (mount for mount in mounts if mount.get("type") == "volume" and mount.get("source"))
    return [mount["source"] for mount in own if str(mount.get("target", "")).startswith(below)]


def listed(at: Environment) -> tuple[Point, ...]:
    """List the recovery points, newest first."""
    return repository_of(at).points()[::-1]


def verify(at: Environment, wanted: str) -> Point:
    """Read a point's dump from the repository, every byte of it, and remember that it was as it was taken."""
    repository = repository_of(at)
    with locks.held([repository.run.host], at.settings.state_dir, "backup.verify", name="dump"):
        point = repository.point(wanted)
        with console.step(f"read the dump of {point.id} from the repository"):
            checksum = repository.verify(point.id)
        repository.evidence.prove(point.id, "read", f"sha256 {checksum[:12]}")
        return repository.point(point.id)
