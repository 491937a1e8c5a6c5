"""How bytes are counted and written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

GIGABYTE = 1_000_000_000


def cache_bytes(used: dict[str, Any]) -> int:
    """Add up the build cache; what images hold as well is theirs. Pure."""
    return sum(entry["Size"] for entry in used["BuildCache"] or [] if not entry["Shared"])


def folder_bytes(folder: Path) -> int:
    """Add up the files below a folder; none when there is none."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())


def log_bytes(file: Path | None) -> int | None:
    """Measure a container's log with its rotated parts; None where there is no file, or where only root may look."""
    try:
        return sum(part.stat().st_size for part in file.parent.iterdir() if part.name.startswith(file.name)) if file else None
    except OSError:
        return None


def shown(size: int | None) -> str:
    """Write bytes as people read them."""
    from rich.filesize import decimal

    return "not known; only root may look" if size is None else decimal(size)
