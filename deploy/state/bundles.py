"""Releases with every file that they need, one folder each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from deploy.core.errors import Refused
from deploy.core.model import Release
from deploy.state import kept
from deploy.state.folder import Folder

# of what is rendered; `env` is written again where a secret was revoked
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Bundle:
    """A release with every file that it needs; secrets stand in `env` alone."""

    release: Release
    files: Mapping[str, str]
    env: str


def sums(files: Mapping[str, str]) -> str:
    """Return what `sha256sum` prints of these files, by which it checks them again, in the order of names. Pure."""
    return "".join(f"{digest(text)}  {name}\n" for name, text in sorted(files.items()))


def digest(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8. Pure."""
    return hashlib.sha256(text.encode()).hexdigest()


class Bundles(Folder):
    """The bundles that a host keeps."""

    def bundle_folder(self, release: str) -> Path:
        """Where a release's bundle lives."""
        return self.folder / "releases" / release

    def keep(self, bundle: Bundle) -> None:
        """Write a bundle, mode 0600; release.json comes last and makes it complete.

        Raises Refused where a release.json is that only a newer toolkit can read.
        """
        folder = self.bundle_folder(bundle.release.id)
        listed = sums(bundle.files)
        release = bundle.release.model_copy(update={"sums": digest(listed)})
        release = kept.carry(release, self.replaced(Release, folder / "release.json"))
        files = {"env": bundle.env, **bundle.files, SUMS: listed}
        files["release.json"] = kept.dump(release, indent=2)
        self.host.write_all({folder / name: (text, 0o600) for name, text in files.items()})

    def edited(self, bundle: Bundle) -> list[str]:
        """Name the files of a bundle that was read which are not as they were kept, or are gone.

        None of a release that an older toolkit kept without sums.
        """
        there, kept_sums = {*sums(bundle.files).splitlines()}, self.text(bundle.release.id, SUMS)
        if bundle.release.sums and digest(kept_sums) != bundle.release.sums:
            return [SUMS]
        return sorted(line.partition("  ")[2] for line in kept_sums.splitlines() if line not in there)

    def release(self, release: str) -> Release:
        """Read what a release is; raise Refused when it is not kept here, incomplete, or unreadable."""
        path = self.bundle_folder(release) / "release.json"
        then = "inv deploy of that commit writes it again; inv history names other releases"
        text = self.readable(path, then)
        if text is None:
            raise Refused(
                f"there is no release {release} here",
                where=str(path.parent.parent),
                then="inv history; a host that came later gets it by inv deploy",
                slug="release-unknown",
            )
        return kept.parse(Release, text, path, then)

    def bundle(self, release: str) -> Bundle:
        """Read a bundle; raise Refused when there is none, or only half of one."""
        kept_release, folder = self.release(release), self.bundle_folder(release)
        names = [name for name in self.host.listdir(folder) if name.endswith((".yml", ".conf"))]
        *texts, env = self.host.concurrently(
            *(partial(self.host.read, folder / name) for name in names), partial(self.text, release, "env")
        )
        files = {name: text or "" for name, text in zip(names, texts, strict=True)}
        return Bundle(kept_release, files, env or "")

    def text(self, release: str, name: str) -> str:
        """Read one file of a bundle; empty where there is none, or it cannot be read."""
        with suppress(OSError):
            return self.host.read(self.bundle_folder(release) / name) or ""
        return ""

    def kept(self) -> list[str]:
        """List the releases whose bundles are here, failed ones among them."""
        return sorted(self.host.listdir(self.folder / "releases"))
