"""Results of scans of images, by the digests of their manifests and configurations."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

from pydantic import ValidationInfo, field_validator

from deploy.core.errors import Refused
from deploy.core.model import Kept
from deploy.core.shell import query
from deploy.state import kept
from deploy.state.folder import Folder, parse_time

SCANS = "scans"
CLOCKS = timedelta(hours=1)  # by which the clocks of two machines may differ


class Scan(Kept):
    """The result of a scan of one image: its verdict, when, by whom, with what, what it found or could not look at."""

    image: str
    digest: str
    config: str
    result: Literal["PASS", "FAIL", "UNKNOWN"]
    scanned: str
    who: str
    revision: str
    scanner: str
    database: str = ""
    reasons: tuple[str, ...] = ()
    until: date | None = None  # when the first of the waivers ends that it relies on

    @field_validator("scanned", "database")
    @classmethod
    def _is_a_time(cls, time: str, info: ValidationInfo) -> str:
        if time or info.field_name == "scanned":
            parse_time(time)
        return time

    @property
    def since(self) -> str:
        """What it knows is of this time: that of its database where that is older than the scan."""
        return min(filter(None, (self.scanned, self.database)), key=parse_time)

    def is_blind_to(self, failed: Scan) -> bool:
        """Tell whether this is a PASS by a database that is older than the one by which another failed. Pure."""
        by_data = self.result == "PASS" and failed.result == "FAIL" and self.database and failed.database
        return bool(by_data) and parse_time(self.database) < parse_time(failed.database)

    def outdated(self, now: datetime, days: float) -> str:
        """Say why it says nothing of today; empty where it does. Pure."""
        age = now - parse_time(self.since)
        if parse_time(self.scanned) - now > CLOCKS:
            return f"was scanned on {self.scanned}, which is yet to come by the clock of this machine"
        if self.until and self.until <= now.astimezone(UTC).date():
            return f"was {self.result} by a waiver that expired on {self.until}"
        if age <= timedelta(days=days):
            return ""
        what = "was scanned" if self.since == self.scanned else "was scanned with a database that was made"
        return f"{what} on {self.since}, {age.days} days ago; scan.pass_days allows {days:g}"


@dataclass(frozen=True)
class Scans(Folder):
    """The scans that a host keeps."""

    def keep(self, scan: Scan, sbom: str) -> None:
        """Write a scan and the image's SBOM; one of the same image is replaced.

        Raises Refused where that is a FAIL, and this one is a PASS by an older database, which lacks what failed.
        """
        before = self.of(scan.digest, scan.config)
        if before and scan.is_blind_to(before):
            what = f"{scan.image} was FAIL with the database of {before.database}, and this one is of {scan.database}"
            raise Refused(what, where=self.host.name, then="inv scan with a newer database", slug="scan-by-older-data")
        for name in dict.fromkeys(filter(None, (scan.digest, scan.config))):
            self.host.write(self.path(name, "json"), kept.dump(scan, indent=2) + "\n")
        if sbom:
            self.host.write(self.path(scan.digest, "cdx.json"), sbom)

    def of(self, *digests: str) -> Scan | None:
        """Return the newest scan of an image by any of its digests; None where there is none that can be read.

        Where another image store gave it another manifest's digest, the later scan has only its configuration's.
        """
        scans = list[Scan]()
        for digest in filter(None, digests):
            with suppress(Refused):
                scan = self.value(Scan, str(self.path(digest, "json").relative_to(self.folder)))
                scans += [scan] if scan else []
        return max(scans, key=lambda scan: parse_time(scan.scanned), default=None)

    def outdated(self, needed: Collection[str], days: float) -> list[Path]:
        """List the files of scans that are older than some days, and of no image with one of the `needed` digests."""
        folder, old = self.folder / SCANS, f"+{days * 24 * 60:.0f}"
        if not self.host.listdir(folder):
            return []
        find = query("find", str(folder), "-type", "f", "-mmin", old, "-name", "*.json")
        kept_names = {digest.removeprefix("sha256:") for digest in needed}
        paths = map(Path, self.host.run(find).splitlines())
        return sorted(path for path in paths if str(path.relative_to(folder)).partition(".")[0] not in kept_names)

    def path(self, digest: str, ending: str) -> Path:
        """Where the scan of an image is."""
        return self.folder / SCANS / f"{digest.removeprefix('sha256:')}.{ending}"
