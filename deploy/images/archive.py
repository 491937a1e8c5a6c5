"""Read what `docker save` streams: which blobs are layers, which of them a host has already."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate
from pathlib import Path
from typing import IO

from deploy.core.model import Frozen

CHUNK = 1 << 20
BLOCK = 512  # what a tar is made of
METADATA = 4 << 20  # a larger blob is a layer
SMALL = 1 << 16
COMPRESSED = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd")  # gzip, zstd
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LEVEL = 1  # of gzip: a tenth more bytes than by 6, in a third of its time, which a line of 70 Mbit/s would wait for


class Layer(Frozen):
    """A layer: the name of its blob, the hash of what it unpacks to, and the blob's size."""

    blob: str
    diff: str
    size: int


class Archived(Frozen):
    """An image as it is saved: digests of its manifest and its configuration, and its layers from the bottom up."""

    digest: str
    config: str
    layers: tuple[Layer, ...]

    @property
    def chain(self) -> list[str]:
        """Name each layer together with those under it."""
        return chain([layer.diff for layer in self.layers])


def chain(diffs: Iterable[str]) -> list[str]:
    """Name each layer together with those under it: a host has a layer for one chain, not for another.

    https://github.com/opencontainers/image-spec/blob/main/config.md#layer-chainid
    """
    return list(
        accumulate(diffs, lambda below, diff: f"sha256:{hashlib.sha256(f'{below} {diff}'.encode()).hexdigest()}")
    )


def read(stream: IO[bytes]) -> Archived:
    """Read a saved image to its end, return its description; raise tarfile.TarError or KeyError for no image."""
    small, sizes = dict[str, bytes](), dict[str, int]()
    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            sizes[member.name] = member.size
            if member.isfile() and member.size < METADATA and (file := tar.extractfile(member)):
                small[member.name] = file.read()
    entry = json.loads(small["manifest.json"])[0]
    diffs = json.loads(small[entry["Config"]])["rootfs"]["diff_ids"]
    layers = tuple(
        Layer(blob=blob, diff=diff, size=sizes[blob]) for blob, diff in zip(entry["Layers"], diffs, strict=True)
    )
    digest = json.loads(small["index.json"])["manifests"][0]["digest"]
    return Archived(digest=digest, config=f"sha256:{entry['Config'].rsplit('/', 1)[-1]}", layers=layers)


def skippable(images: Iterable[Archived], present: Iterable[str]) -> Mapping[str, int]:
    """Choose the blobs that need not be sent, with their sizes: the host has the chain wherever an image has the blob.

    Pure.
    """
    chains, present_blobs, required = set(present), dict[str, int](), set[str]()
    for image in images:
        for layer, name in zip(image.layers, image.chain, strict=True):
            if name in chains:
                present_blobs[layer.blob] = layer.size
            else:
                required.add(layer.blob)
    return {blob: size for blob, size in present_blobs.items() if blob not in required}


def keep_one(folder: Path, config: str) -> None:
    """Have the index of an unpacked archive name the image with this configuration alone.

    That of an image for several platforms names all of them, and who reads it may take the first.
    """
    for blob in folder.glob("blobs/sha256/*"):
        if blob.stat().st_size < METADATA and (manifest := manifest_of(blob.read_bytes(), config)):
            named = {"digest": f"sha256:{blob.name}", "size": blob.stat().st_size, "mediaType": manifest}
            (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [named]}))
            return


def manifest_of(data: bytes, config: str) -> str:
    """Return the media type of the manifest with this configuration; empty for any other blob. Pure."""
    try:
        document = json.loads(data)
        return str(document.get("mediaType", MANIFEST)) if document["config"]["digest"] == config else ""
    except (ValueError, LookupError, TypeError, AttributeError):
        return ""


def copied(source: IO[bytes], without: Container[str]) -> Iterator[bytes]:
    """Yield a saved archive without some blobs, compressed; the files that name the images come last.

    The whole is one gzip file of many members, one a chunk, so that every processor compresses. What is compressed
    already is only stored. All small files share the last member, where they compress well together.
    """
    ahead = deque[Future[bytes]]()
    with ThreadPoolExecutor() as pool:
        for part, level in parts(source, without):
            ahead.append(pool.submit(gzip.compress, part, level, mtime=0))
            if len(ahead) > (os.cpu_count() or 1):
                yield ahead.popleft().result()
        yield from (done.result() for done in ahead)


def parts(source: IO[bytes], without: Container[str]) -> Iterator[tuple[bytes, int]]:
    """Yield what a saved archive is made of, in chunks with the level at which to compress each."""
    small = list[bytes]()
    with tarfile.open(fileobj=source, mode="r|") as tar:
        for member in tar:
            if member.name in without:
                continue
            file = (tar.extractfile(member) if member.isfile() else None) or io.BytesIO()
            first = file.read(SMALL)
            if member.size < SMALL and not (first.startswith(COMPRESSED) and member.size > BLOCK):
                small.append(member.tobuf() + first + padding(member))
                continue
            level = 0 if first.startswith(COMPRESSED) else LEVEL
            yield member.tobuf() + first, level
            while part := file.read(CHUNK):
                yield part, level
            yield padding(member), level
    yield b"".join(small) + bytes(2 * BLOCK), LEVEL


def padding(member: tarfile.TarInfo) -> bytes:
    """Return what fills a file up to whole blocks."""
    return bytes(-member.size % BLOCK)
