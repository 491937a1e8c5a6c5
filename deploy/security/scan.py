"""Scan what a checkout made: its images as the engine has them, its files, its history; judge it, and record it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from deploy.config import checkout as checkouts
from deploy.config.environment import Environment
from deploy.config.sections import Skippable
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, Reasons, Refused
from deploy.hosts.host import Host
from deploy.images import build, inventory
from deploy.images.inventory import ImageTransfer
from deploy.release import desired
from deploy.security import against as earlier
from deploy.security import database, inspect, judge, report, waivers
from deploy.security.findings import DATABASE, Inspection, ScannedImage
from deploy.security.judge import Judged, Strict
from deploy.security.linters import LINTERS
from deploy.security.trivy import Data
from deploy.state import locks
from deploy.state.folder import now
from deploy.state.scans import Scan, Scans


@dataclass(frozen=True)
class Scanned:
    """What a scan came to."""

    env: str
    revision: str
    judged: tuple[Judged, ...]
    images: tuple[tuple[ScannedImage, Scan], ...]
    strict: Strict
    data: Data
    skipped: tuple[Skippable, ...]
    seconds: float
    unrecorded: dict[str, OpsError]


def scan(at: Environment, *, base: str = "", against: str = "") -> Scanned:
    """Look at images, files and history, judge them, and record the result of each image on every host.

    With a `base` report, or `against` a commit, only findings that it lacks block; not where every finding does: prod,
    main and tags.
    """
    started, settings = time.monotonic(), at.settings
    strict = judge.strictness(settings, os.environ)
    before, accepted = report.fingerprints(base, strict), waivers.read(settings.root, datetime.now(UTC).date())
    source = checkouts.read(settings.root, at.here)
    with console.step("vulnerability database", within=settings.scan.within):
        data, failed = database.update(settings, at.here)
    if against:
        before |= earlier.fingerprints(at, against, strict, lambda then: look(then, data)[0])
    inspected, images = look(at, data)
    of_database = Inspection(
        "vulnerabilities", DATABASE, data.updated, data.age, unknown=failed or data.unknown, then=data.then
    )
    inspections = without_skipped([of_database, *inspected], settings)
    judged = [judge.judge(inspection, accepted.valid, before, settings) for inspection in inspections]
    scans = tuple((one, summarize(one, source.revision, judged, data)) for one in images)
    of_waivers = judge.judge_waivers(accepted, inspections, before)
    unrecorded = record(at, scans)
    return Scanned(
        settings.env, source.revision, (*judged, of_waivers), scans, strict, data,
        tuple(settings.scan.skip), time.monotonic() - started, unrecorded,
    )  # fmt: skip


def look(at: Environment, data: Data) -> tuple[list[Inspection], list[ScannedImage]]:
    """Look at the images of a checkout, and at its files and history."""
    revision = checkouts.read(at.settings.root, at.here).revision
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(inspect_images, at, revision, data)
        files = inspect_checkout(at.settings, at, data)
        of_images, images = running.result()
    return [*of_images, *files], images


def without_skipped(inspections: Sequence[Inspection], settings: Settings) -> list[Inspection]:
    """Leave out the kinds that an app says it has nothing for; what was found even so stays."""
    return [
        inspection
        for inspection in inspections
        if inspection.skippable not in settings.scan.skip or inspection.findings
    ]


def inspect_images(at: Environment, revision: str, data: Data) -> tuple[list[Inspection], list[ScannedImage]]:
    """Inspection into every image that runs: those that `inv build` made of this checkout, and those of others."""
    inspections, images = list[Inspection](), list[ScannedImage]()
    try:
        names = sorted(desired.names(desired.model(*at.machine)))
        own = {target.image for target in build.read_targets(*at.machine)}
    except OpsError as error:
        return [Inspection(kind, "images", unknown=error.what, then=error.then) for kind in inspect.IMAGE_KINDS], []
    for name in names:
        with console.step(f"image {name}", within=at.settings.scan.within):
            transfer = image_of(name, revision, own, at)
            if isinstance(transfer, OpsError):
                inspections.append(absent(name, transfer))
                continue
            own_results, image = inspect.image(transfer, *at.machine, data)
            inspections, images = [*inspections, *own_results], [*images, image]
    return inspections, images


def absent(name: str, error: OpsError) -> Inspection:
    """Say once that an image is not here to be looked into, whatever for."""
    what, then = error.what.splitlines()[0], error.then.replace("build --push", "build")
    return Inspection("vulnerabilities", name, unknown=what, then=then)


def image_of(name: str, revision: str, own: set[str], at: Environment) -> ImageTransfer | OpsError:
    """Return an image as it would be shipped; the error where it is not here."""
    try:
        return inventory.find_transfers([name], own, revision, at.here)[0]
    except OpsError as error:
        return error


def inspect_checkout(settings: Settings, at: Environment, data: Data) -> list[Inspection]:
    """Look at locks, secrets, configuration, scripts, workflows and history."""
    files = inspect.tracked(settings, at.here)
    inspections = list[Inspection]()
    acts: list[tuple[str, Callable[[], list[Inspection]]]] = [
        ("history", lambda: [inspect.history(settings, at.here)]),
        ("Dockerfiles, scripts, workflows", lambda: [inspect.lint(one, settings, at.here, files) for one in LINTERS]),
        ("compose files, nginx templates", lambda: inspect.by_rules(settings, at.here)),
        ("build check", lambda: [inspect.build_check(settings, at.here)]),
        ("locks, secrets and configuration", lambda: inspect.checkout(settings, at.here, data, files)),
    ]
    for title, act in acts:
        with console.step(title, within=settings.scan.within):
            inspections += act()
    return inspections


def summarize(image: ScannedImage, revision: str, judged: Sequence[Judged], data: Data) -> Scan:
    """Say what the scan of one image came to, for the record; a base report excuses nothing in it."""
    own = [one for one in judged if one.inspection.where == image.name]
    ends = [waiver.expired_at for one in own for _, waiver in one.waived]
    return Scan(
        image=image.name, digest=image.digest, config=image.config, revision=revision, scanned=now(),
        result=judge.verdict(one.without_base for one in own), who=locks.who(), scanner="trivy", database=data.updated,
        reasons=judge.reasons(own), until=min(ends, default=None),
    )  # fmt: skip


def record(at: Environment, scans: Sequence[tuple[ScannedImage, Scan]]) -> dict[str, OpsError]:
    """Record the result of each image on every host; return why that was not possible."""

    def on(host: Host) -> None:
        kept, refusals = Scans(host, at.settings.state_dir), Reasons()
        for image, scan in scans:
            with refusals:
                kept.keep(scan, image.sbom)
        refusals.refuse()

    with console.step(f"record on {', '.join(host.name for host in at.hosts)}"):
        return at.gather(on)[1]


def require_file(path: str) -> Path:
    """Refuse to begin a scan whose report could not be written."""
    file = Path(path)
    if file.is_dir() or not file.parent.is_dir():
        what = f"{file} is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise Refused(what, where=path, then="--sarif=FILE", slug="wrong-usage")
    return file
