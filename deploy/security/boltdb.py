"""Tell a whole BoltDB file, as Trivy's database is one, from one that was cut off while it was copied.

The format: https://github.com/etcd-io/bbolt/blob/main/internal/common/meta.go
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

MAGIC, HEADER = 0xED0CDAED, 16
META = struct.Struct("<IIIIQQQQQQ")  # magic, version, page size, flags, root, sequence, free list, pages, number, sum
OFFSET, PRIME = 0xCBF29CE484222325, 0x100000001B3
TAIL = 4  # pages at the end that are not all empty, unless a copy into a file of full size was cut off


def damage(path: Path) -> str:
    """Say what is wrong with a database; empty for one that is whole."""
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            meta = newest(file.read(2 * 65536))
            if not meta:
                return f"{path.name} is no database, or only its beginning"
            whole = meta[2] * meta[7]
            if size < whole:
                return f"{path.name} has {size} of {whole} bytes"
            file.seek(max(0, whole - TAIL * meta[2]))
            return "" if file.read(TAIL * meta[2]).strip(b"\0") else f"{path.name} is empty at its end"
    except OSError as error:
        return f"{path.name}: {error.strerror}"


def newest(beginning: bytes) -> tuple[int, ...]:
    """Return the newer of the two pages that say how large the database is; none where neither is whole. Pure."""
    first = read_meta(beginning[HEADER:])
    size = first[2] if first else os.sysconf("SC_PAGESIZE")
    metas = (first, read_meta(beginning[size + HEADER :]))
    return max(metas, key=lambda meta: meta[8] if meta else -1)


def read_meta(data: bytes) -> tuple[int, ...]:
    """Read such a page; nothing for one whose sum is another. Pure."""
    if len(data) < META.size:
        return ()
    meta = META.unpack_from(data)
    return meta if meta[0] == MAGIC and meta[9] == checksum(data[: META.size - 8]) else ()


def checksum(data: bytes) -> int:
    """Return FNV-1a, 64 bits. Pure."""
    value = OFFSET
    for byte in data:
        value = ((value ^ byte) * PRIME) % (1 << 64)
    return value
