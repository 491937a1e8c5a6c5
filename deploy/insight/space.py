"""How bytes are counted and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.core.shell import query
from deploy.hosts.host import Host

GIGABYTE = 1_000_000_000


def cache_bytes(used: dict[str, Any]) -> int:
    """Add up the build cache; parts that images share count as the images'. Pure."""
    return sum(entry["Size"] for entry in used["BuildCache"] or [] if not entry["Shared"])


def folder_bytes(host: Host, folder: Path) -> int:
    """Add up the files below a folder; 0 when there is no folder."""
    sizes = host.try_run(query("du", "--summarize", "--bytes", str(folder))).stdout.split()
    return int(sizes[0]) if sizes else 0


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
