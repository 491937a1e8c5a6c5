"""Promise: the same commit gives the same manifest digests, whoever builds it, wherever and whenever."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.site import Site, copy_checkout, docker

pytestmark = pytest.mark.skipif(
    "io.containerd.snapshotter" not in docker("info", "--format", "{{json .DriverStatus}}"),
    reason="the classic image store keeps no manifest digests",
)


def digests(site: Site, *words: str) -> dict[str, str]:
    """Build and return image -> manifest digest."""
    return {image["image"]: image["digest"] for image in site.inv("build", "--json", *words).document["images"]}


def test_two_checkouts_with_other_paths_umasks_and_minutes_build_the_same_digests(tmp_path: Path) -> None:
    """The second build uses nothing of the first one's cache."""
    first = Site(tmp_path / "first")
    copy_checkout(first)
    ours = digests(first)
    second = Site(tmp_path / "a" / "second path")
    second.root.parent.mkdir(parents=True)
    before = os.umask(0o077)
    try:
        subprocess.run(["git", "clone", "--quiet", str(first.root), str(second.root)], check=True)
    finally:
        os.umask(before)
    assert (first.root / "backend/bookreader/app.py").stat().st_mode != (
        second.root / "backend/bookreader/app.py"
    ).stat().st_mode
    assert digests(second, "--no-cache") == ours
