"""Small file systems, and how to fill them: `python -m tests.nights.disks FOLDER`."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

from tests.integration.bad_input.test_machine import UNSHARE
from tests.support.site import ROOT, Site

BLOCK = 4096
FULL = f"cd {ROOT} && {sys.executable} -m tests.nights.disks"
SMALL = """
state=$1 small=$2; shift 2
mount -t tmpfs -o size=8m tmpfs "$small"; cp -a "$state/." "$small"; mount --bind "$small" "$state"
exec "$@"
"""


def small(site: Site, folder: Path) -> list[str]:
    """Return the words that run a command where the state, as it is, lies on a small file system."""
    place = folder / "small"
    place.mkdir()
    return [*UNSHARE, "sh", "-euc", SMALL, "sh", str(site.state), str(place)]


def fill(folder: Path) -> None:
    """Take the last byte; a line that would still fit into a file's last block must not."""
    for path in folder.rglob("*.jsonl"):
        text = path.read_bytes().rstrip(b"\n")
        path.write_bytes(text + b" " * (-(len(text) + 1) % BLOCK) + b"\n")
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as filler:
        while filler.write(bytes(BLOCK)):
            pass


if __name__ == "__main__":
    fill(Path(sys.argv[1]))
