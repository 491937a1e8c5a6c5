"""Only images that were scanned go into service, where the settings need that."""

from __future__ import annotations

from collections.abc import Iterator

from deploy.core import console
from deploy.core.errors import GateClosed
from deploy.core.model import Release
from deploy.site.run import Fleet, Run
from deploy.state.scans import Scan, Scans


def require_scanned(fleet: Fleet, unscanned: str = "") -> str:
    """Raise GateClosed where an image of the release has no PASS of a scan by its digest, on any host.

    `unscanned` is why a person deploys it even so. Returns that where it was needed, for the record.
    """
    lacking = {run.host.name: list(obstacles(run)) for run in fleet.runs}
    lines = list(dict.fromkeys(line for own in lacking.values() for line in own))
    if not lines:
        return ""
    if unscanned:
        console.warn(f"deployed without a PASS of a scan, since {unscanned}: {'; '.join(lines)}")
        return unscanned
    what = "\n    ".join(["images of this release have no PASS of a scan:", *lines])
    then = "inv scan, then inv deploy; at your own risk, and recorded: inv deploy --unscanned=REASON"
    where = ", ".join(name for name, own in lacking.items() if own)
    raise GateClosed(what, where=where, then=then, slug="image-not-scanned")


def obstacles(run: Run) -> Iterator[str]:
    """Say of each image on a host that has no PASS what it has instead."""
    scans = Scans(run.host, run.settings.state_dir)
    for name, digest in sorted(run.bundle.release.images.items()):
        scan = scans.of(*digests(run.bundle.release, name))
        if scan is None:
            yield f"{name} ({digest[:19]}) was not scanned"
        elif scan.result != "PASS":
            yield described(scan)


def digests(release: Release, name: str) -> tuple[str, str]:
    """Return what an image may have been scanned as: its manifest's digest, and its configuration's."""
    return release.images[name], release.config_digests.get(name, "")


def described(scan: Scan) -> str:
    """Say what a scan that is no PASS came to."""
    why = "; ".join(scan.reasons[:3]) + (f" and {len(scan.reasons) - 3} more" if len(scan.reasons) > 3 else "")
    return f"{scan.image} ({scan.digest[:19]}) was {scan.result} on {scan.scanned}: {why}"
