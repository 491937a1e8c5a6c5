"""Only images that were scanned go into service, where the settings need that."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from deploy.core import console
from deploy.core.errors import GateClosed
from deploy.core.model import Release
from deploy.site.run import Fleet, Run
from deploy.state.scans import Scan, Scans

NOT_REQUIRED = "scan.required is false"


def require_scanned(fleet: Fleet, again: str, unscanned: str | None = None) -> str:
    """Raise GateClosed where an image of the release has no PASS of a scan by its digest, on any host that needs it.

    `again` is the command that is refused; `unscanned` is why a person does it even so, None where nobody may.
    Returns that where it was needed, for the record; in prod also that the settings need no scan.
    """
    settings = fleet.at.settings
    if not (settings.needs_scan or settings.asks):
        return ""
    lacking = {run.host.name: list(obstacles(run)) for run in fleet.runs}
    lines = list(dict.fromkeys(line for own in lacking.values() for line in own))
    if not lines:
        return ""
    if reason := (unscanned or "") if settings.needs_scan else NOT_REQUIRED:
        console.warn(f"{again} goes on without a PASS of a scan, since {reason}: {'; '.join(lines)}")
        return reason
    what = "\n    ".join(["images of this release have no PASS of a scan:", *lines])
    risk = "" if unscanned is None else f"; at your own risk, and recorded: {again} --unscanned=REASON"
    where = ", ".join(name for name, own in lacking.items() if own)
    raise GateClosed(what, where=where, then=f"inv scan, then {again}{risk}", slug="image-not-scanned")


def served_before(fleet: Fleet) -> bool:
    """Tell whether the release was in service on a host: what serves is never kept from serving again."""
    target = fleet.release.id
    return any(target == run.facts.edge.release or target in run.state.served() for run in fleet.runs)


def obstacles(run: Run) -> Iterator[str]:
    """Say of each image on a host that has no PASS of these days what it has instead."""
    now, days = datetime.now(UTC), run.settings.scan.pass_days
    scans = Scans(run.host, run.settings.state_dir)
    for name, digest in sorted(run.bundle.release.images.items()):
        scan = scans.of(*digests(run.bundle.release, name))
        if scan is None:
            yield f"{name} ({digest[:19]}) was not scanned"
        elif scan.result != "PASS":
            yield described(scan)
        elif outdated := scan.outdated(now, days):
            yield f"{name} ({digest[:19]}) {outdated}"


def digests(release: Release, name: str) -> tuple[str, str]:
    """Return what an image may have been scanned as: its manifest's digest, and its configuration's."""
    return release.images[name], release.config_digests.get(name, "")


def described(scan: Scan) -> str:
    """Describe the scan of an image that has no PASS: its result and the first reasons."""
    why = "; ".join(scan.reasons[:3]) + (f" and {len(scan.reasons) - 3} more" if len(scan.reasons) > 3 else "")
    return f"{scan.image} ({scan.digest[:19]}) was {scan.result} on {scan.scanned}: {why}"
