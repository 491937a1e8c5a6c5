"""Tell a whole BoltDB file, as Trivy's database is one, from one whose copy was cut off; list its buckets.

The format: https://github.com/etcd-io/bbolt/tree/main/internal/common
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MAGIC, HEADER = 0xED0CDAED, 16
META = struct.Struct("<IIIIQQQQQQ")  # magic, version, page size, flags, root, sequence, free list, pages, number, sum
OFFSET, PRIME = 0xCBF29CE484222325, 0x100000001B3
PAGE = struct.Struct("<QHHI")  # number, flags, count, overflow
IN_BRANCH, IN_LEAF = struct.Struct("<IIQ"), struct.Struct("<IIII")  # place, key, page; flags, place, key, value
BRANCH, LEAF = 0x01, 0x02
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


def buckets(path: Path) -> frozenset[str]:
    """List the names at the top of a database; raise ValueError where they cannot be read."""
    with path.open("rb") as file:
        meta = newest(file.read(2 * 65536))
        try:
            return frozenset(names(file, meta[4], meta[2]))
        except (struct.error, IndexError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{path.name} cannot be read: {error}") from None


def names(file: IO[bytes], number: int, size: int) -> Iterator[str]:
    """Yield the keys of a page and of those under it, of which each has `size` bytes or more."""
    file.seek(number * size)
    head = file.read(PAGE.size)
    itself, flags, count, overflow = PAGE.unpack(head)
    if itself != number or flags not in (BRANCH, LEAF):
        raise ValueError(f"page {number} is another")
    page = head + file.read((overflow + 1) * size - PAGE.size)
    entry = IN_BRANCH if flags == BRANCH else IN_LEAF
    for at in range(PAGE.size, PAGE.size + count * entry.size, entry.size):
        words = entry.unpack_from(page, at)
        if flags == BRANCH:
            yield from names(file, words[2], size)
        else:
            yield page[at + words[1] : at + words[1] + words[2]].decode()
