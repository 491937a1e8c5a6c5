"""How bytes are counted and written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.core.shell import query
from deploy.hosts.host import Host

GIGABYTE = 1_000_000_000
# $1 a place, which need not be there
FILE_SYSTEM = """place=$1
until [ -e "$place" ]; do place=${place%/*}; place=${place:-/}; done
stat --format=%d -- "$place"
df -B1 --output=used,target -- "$place" | tail -n 1
"""


@dataclass(frozen=True)
class FileSystem:
    """Its number, which stays where a folder of it is mounted once more; where it is mounted; how much is used."""

    number: int
    target: str
    used: int


def cache_bytes(used: dict[str, Any]) -> int:
    """Add up the build cache; parts that images share count as the images'. Pure."""
    return sum(entry["Size"] for entry in used["BuildCache"] or [] if not entry["Shared"])


def folder_bytes(host: Host, folder: Path) -> int:
    """Add up the files below a folder; 0 when there is no folder."""
    sizes = host.try_run(query("du", "--summarize", "--bytes", str(folder))).stdout.split()
    return int(sizes[0]) if sizes else 0


def readable_bytes(host: Host, folder: Path) -> int | None:
    """Add up the files below a folder; 0 when there is no folder, None where only root may read it."""
    done = host.try_run(query("du", "--summarize", "--bytes", str(folder)))
    if "Permission denied" in done.stderr:
        return None
    return int(done.stdout.split()[0]) if done.stdout.strip() else 0


def file_systems(host: Host, places: Iterable[Path]) -> dict[Path, FileSystem]:
    """Tell on which file system each place is, or will be, and how many bytes of it are used."""
    found = dict[Path, FileSystem]()
    for place in dict.fromkeys(places):
        number, used, target = host.run(query("sh", "-c", FILE_SYSTEM, "sh", str(place))).strip().split(maxsplit=2)
        found[place] = FileSystem(int(number), target, int(used))
    return found


def log_bytes(host: Host, file: Path | None) -> int | None:
    """Measure a container's log with its rotated parts; None where there is no file, or where only root may read it."""
    if not file:
        return None
    done = host.try_run(query("find", str(file.parent), "-maxdepth", 1, "-name", f"{file.name}*", "-printf", "%s\n"))
    return None if done.returncode else sum(map(int, done.stdout.split()))


def shown(size: int | None) -> str:
    """Write bytes as people read them."""
    from rich.filesize import decimal

    return "unknown, only root may read it" if size is None else decimal(size)
