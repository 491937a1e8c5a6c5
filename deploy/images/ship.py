"""Bring images to a host without a registry: only layers that it lacks travel."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile

from deploy.core.errors import OpsError
from deploy.core.shell import docker
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.images import archive, stock
from deploy.images.stock import Parcel

UNTOUCHED = "what served before; nothing that runs was touched"
FULL = "no space left on device"


@dataclass(frozen=True)
class Shipped:
    """What it took to bring a revision's images to one host; bytes as they went over the wire, None where Docker does not say."""

    host: str
    images: int
    sent: int | None
    skipped: int | None
    seconds: float


def ship(
    parcels: Sequence[Parcel], revision: str, state_dir: Path, here: LocalHost, host: Host, on_bytes: Callable[[int], None]
) -> Shipped:
    """Bring images to one host, prove what arrived, leave the record of it there; raise OpsError when they did not arrive."""
    started, seen, sent = time.monotonic(), stock.look(host), 0
    every = {layer.blob: layer.size for parcel in parcels for layer in parcel.image.layers}
    lacking = [parcel for parcel in parcels if not seen.has(parcel.image)]
    spared = archive.spared((parcel.image for parcel in lacking), seen.chains)
    travelled = {layer.blob for parcel in lacking for layer in parcel.image.layers} - set(spared)
    if lacking:
        sent, said = send(lacking, spared, here, host, on_bytes)
        if said and spared and FULL not in said:  # a layer was pruned meanwhile, or is compressed in another way there
            more, said = send(lacking, (), here, host, on_bytes)
            sent, travelled = sent + more, travelled | set(spared)
        if said:
            raise OpsError(f"the images did not arrive whole:\n{said}", where=host.name, serves=UNTOUCHED, then="inv push")
    stock.keep(host, state_dir, revision, parcels, seen)
    skipped = sum(size for blob, size in every.items() if blob not in travelled)
    return Shipped(host.name, len(parcels), sent, skipped, time.monotonic() - started)


def send(
    parcels: Sequence[Parcel], without: Container[str], here: LocalHost, host: Host, on_bytes: Callable[[int], None]
) -> tuple[int, str]:
    """Stream images into a host's engine; return the bytes sent and, unless all of them are whole there, what went wrong.

    What names the images comes last in the stream: of one that is cut off the engine keeps nothing.
    """
    with (
        TemporaryFile() as complaints,
        here.stream(docker("save", *(p.kept for p in parcels)), complaints) as saved,
        host.open(docker("load", "--quiet"), fed=True) as loading,
    ):
        assert saved.stdout  # noqa: S101  # a process that was opened has one
        assert loading.stdin  # noqa: S101  # it is fed
        assert loading.stdout  # noqa: S101  # as above
        sent, broken = 0, ""
        try:
            for part in archive.copied(saved.stdout, without):
                on_bytes(sent)
                loading.stdin.write(part)
                sent += len(part)
        except (tarfile.TarError, OSError) as error:  # either side has ended; what the host says goes before this
            broken = f"{error}; `docker save` said{heard}" if (heard := stock.heard(complaints)) else str(error)
        with suppress(OSError):
            loading.stdin.close()
        said = loading.stdout.read().decode(errors="replace").strip()
    seen = stock.look(host)
    if not loading.returncode and not broken and all(seen.has(parcel.image) for parcel in parcels):
        return sent, ""
    for parcel in parcels:  # none was whole there before; the containerd store keeps names of what is not
        host.try_run(docker("image", "rm", seen.id(parcel.image)))
    if loading.returncode and said:
        return sent, "\n".join(filter(None, [said, broken]))
    return sent, f"`docker load` ended with {loading.returncode}; {broken or 'the engine lists no whole image'}"
