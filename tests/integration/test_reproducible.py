"""Promise: the same commit gives the same manifest digests, whoever builds it, wherever and whenever.

And the certificates that a build trusts are in no image.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import uuid
from pathlib import Path

import pytest

from tests.support.site import Site, copy_checkout, docker

pytestmark = pytest.mark.skipif(
    "io.containerd.snapshotter" not in docker("info", "--format", "{{json .DriverStatus}}"),
    reason="the classic image store keeps no manifest digests",
)


def build(site: Site, *words: str) -> dict[str, str]:
    """Build; return image -> manifest digest, each image by the name that no other site has for it."""
    built = site.inv("build", "--json", *words).document
    return {f"{image['image']}:{built['revision']}": image["digest"] for image in built["images"]}


def holds(archive: bytes, marker: bytes) -> bool:
    """Tell whether any file of any layer of a saved image contains some bytes."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as image:
        for member in image:
            file = image.extractfile(member)
            data = file.read() if file else b""
            try:
                with tarfile.open(fileobj=io.BytesIO(data)) as layer:
                    if any(marker in layer.extractfile(entry).read() for entry in layer if entry.isreg()):  # type: ignore[union-attr]  # a regular file has content
                        return True
            except tarfile.ReadError:
                if marker in data:
                    return True
    return False


def bundle(folder: Path) -> tuple[Path, bytes]:
    """Make a certificate bundle of our own; return also what tells it from all others."""
    marker = f"a certificate bundle of our own, {uuid.uuid4()}"
    path = folder / "bundle.crt"
    path.write_text(f"# {marker}\n" + Path("/etc/ssl/certs/ca-certificates.crt").read_text())
    return path, marker.encode()


def test_two_checkouts_with_other_paths_umasks_and_minutes_build_the_same_digests(tmp_path: Path) -> None:
    """The second build uses nothing of the first one's cache, and trusts another bundle, which is in no layer of any image.

    It could not download without that one.
    """
    first = Site(tmp_path / "first")
    copy_checkout(first)
    first.name_images()
    ours = build(first)
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
    path, marker = bundle(tmp_path)
    second.extra["OPS_BUILD__EXTRA_CA"] = str(path)
    assert build(second, "--no-cache") == ours
    for image in (name for name in ours if name.split(":")[0].endswith(("/backend", "/frontend", "/edge"))):
        saved = subprocess.run(["docker", "save", image], check=True, capture_output=True).stdout
        assert holds(saved, b"\x7fELF"), f"the layers of {image} were not really read"
        assert not holds(saved, marker), image
    first.sweep()
