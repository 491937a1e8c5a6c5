"""Take a recovery point, list those that are there, read one back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from deploy.backups.points import Evidence, Manifest, Place, Point, joined, ordered
from deploy.backups.repository import Repository, repository_of
from deploy.config.environment import Environment
from deploy.core import console, yaml
from deploy.core.errors import Interrupted, OpsError, Refused
from deploy.core.model import LABEL
from deploy.state import locks
from deploy.state.folder import now

DATA = "/data/"  # where the backup service has what it saves
SUSPECT = "suspect"  # a detail in backups.jsonl: the script of the night takes no such point for a measure
KEEPING = ("data", "web", "worker", "scheduler")  # roles of services whose volumes hold what somebody made


@dataclass(frozen=True)
class Taken:
    """A recovery point that was just taken, its manifest, where it is, what it does not hold, how long it took."""

    point: str
    manifest: Manifest
    places: tuple[str, ...]
    left_out: tuple[str, ...]
    seconds: float


def backup(at: Environment, within: float = 0, *, offsite: bool = True) -> Taken:
    """Take a recovery point of the database, the declared volumes and the state folder; a deploy goes on beside it.

    Another backup is waited for `within` so many seconds. With `offsite` it is copied where the settings say.

    Raises OpsError where it holds so much less than the one before that it is suspect, and where it is not off-site
    though it should be: it stays, and is marked.
    """
    started, repository = time.monotonic(), repository_of(at)
    with locks.held([repository.run.host], at.settings.state_dir, "backup", name="dump", within=within):
        with console.step("dump the database, save it, read the manifest back"):
            point, manifest = repository.take()
        release = repository.run.release.id
        repository.evidence.add(Evidence(point=point, state="taken", time=now(), release=release, manifest=manifest))
        newest = repository.point(point)
    left = attempt_copy(repository, newest) if offsite and repository.offsite else None
    if newest.losses:
        repository.evidence.prove(point, "taken", SUSPECT)
        if left:
            console.warn(left.what)
        raise suspect(repository, newest)
    if left:
        raise left
    places = ("local", "off-site") if offsite and repository.offsite else ("local",)
    return Taken(point, manifest, places, left_out(repository.run.bundle.files), round(time.monotonic() - started, 1))


def attempt_copy(repository: Repository, point: Point) -> OpsError | None:
    """Copy a point into the off-site repository, and read it back; return what went wrong."""
    try:
        with console.step(f"copy {point.id} off-site, read its manifest back"):
            repository.copy(point)
    except Interrupted:
        raise
    except OpsError as error:
        what = f"recovery point {point.id} is in {repository.address}, and not off-site: {error.what}"
        serves = f"the point in {repository.address}; inv backup.list shows it"
        return OpsError(what, where=error.where, serves=serves, then="fix that, then inv backup.copy",
                        slug="offsite-failed")  # fmt: skip
    return None


def copy(at: Environment) -> Point:
    """Copy into the off-site repository what it lacks; return the newest point.

    Raises Refused where the settings name none, OpsError where it is out of reach or does not give the point back.
    """
    repository = repository_of(at)
    require_offsite(repository)
    point = repository.point("latest")
    if left := attempt_copy(repository, point):
        raise left
    return next(one for one in repository.everywhere() if one.id == point.id)


def require_offsite(repository: Repository) -> None:
    """Refuse where the release that serves copies its points nowhere."""
    if not repository.offsite:
        then = "set backup.offsite, then inv deploy"
        raise Refused("no off-site repository is set", where=repository.run.host.name, then=then, slug="no-offsite")


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


def listed(at: Environment) -> tuple[tuple[Point, ...], OpsError | None]:
    """List the recovery points, newest first, and why those that are off-site alone may be missing."""
    repository = repository_of(at)
    near, far, unasked = repository.snapshots("local"), list[Mapping[str, object]](), None
    try:
        far = repository.snapshots("off-site") if repository.offsite else far
    except OpsError as error:
        what = f"the off-site repository was not asked: {error.what}"
        then = "fix that, then inv backup.list; the points that are shown can be restored"
        unasked = OpsError(what, where=error.where, then=then, slug="offsite-failed")
    return ordered(joined(near, repository.evidence.lines(), far), repository.run.host)[::-1], unasked


def verify(at: Environment, wanted: str, *, offsite: bool = False) -> Point:
    """Read a point's dump, every byte of it, here or off-site, and remember that it was as it was taken."""
    repository = repository_of(at)
    place: Place = "off-site" if offsite else "local"
    with locks.held([repository.run.host], at.settings.state_dir, "backup.verify", name="dump"):
        point = there(repository, wanted, place)
        with console.step(f"read the dump of {point.id} from the {place} repository"):
            checksum = repository.verify(point.copies[place], place)
        repository.evidence.prove(point.id, "read", f"{place}: sha256 {checksum[:12]}", place)
        return there(repository, point.id, place)


def there(repository: Repository, wanted: str, place: Place) -> Point:
    """Return a point that is in one of the repositories; raise Refused where it is not."""
    if place == "off-site":
        require_offsite(repository)
    points = repository.everywhere() if place == "off-site" else repository.points()
    matching = [one for one in points if place in one.copies and wanted in ("latest", one.id)]
    if not matching:
        what = f"the {place} repository has no recovery point {wanted}"
        raise Refused(what, where=repository.run.host.name, then="inv backup.list names them", slug="point-unknown")
    return matching[-1]
