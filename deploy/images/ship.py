"""Bring images to a host without a registry: only layers that it lacks travel."""

from __future__ import annotations

import tarfile
import time
from collections.abc import Callable, Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deploy.core.errors import OpsError
from deploy.core.shell import docker
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.images import archive, inventory
from deploy.images.inventory import ImageTransfer

UNTOUCHED = "what served before; nothing that runs was touched"
FULL = "no space left on device"


@dataclass(frozen=True)
class Shipped:
    """What it took to bring images to one host; bytes on the wire, None where Docker does not print them."""

    host: str
    images: int
    sent: int | None
    skipped: int | None
    seconds: float


def ship(
    transfers: Sequence[ImageTransfer],
    revision: str,
    state_dir: Path,
    here: LocalHost,
    host: Host,
    on_bytes: Callable[[int], None],
) -> Shipped:
    """Bring images to one host, prove what arrived, write the record of it there.

    Raises OpsError (`images-incomplete`) when they did not arrive whole.
    """
    started, present, sent = time.monotonic(), inventory.observe(host), 0
    sizes = {layer.blob: layer.size for transfer in transfers for layer in transfer.image.layers}
    lacking = [transfer for transfer in transfers if not present.has(transfer.image)]
    there = inventory.chains(host, present.ids) if lacking else ()
    skippable = archive.skippable((transfer.image for transfer in lacking), there)
    travelled = {layer.blob for transfer in lacking for layer in transfer.image.layers} - set(skippable)
    if lacking:
        sent, failure = send(lacking, skippable, here, host, on_bytes)
        # a layer was pruned meanwhile, or is compressed in another way there
        if failure and skippable and FULL not in failure:
            more, failure = send(lacking, (), here, host, on_bytes)
            sent, travelled = sent + more, travelled | set(skippable)
        if failure:
            what = f"the images did not arrive whole:\n{failure}"
            slug = "disk-full" if FULL in failure else "images-incomplete"
            raise OpsError(what, where=host.name, serves=UNTOUCHED, then="inv push", slug=slug)
    inventory.record(host, state_dir, revision, transfers, present)
    skipped = sum(size for blob, size in sizes.items() if blob not in travelled)
    return Shipped(host.name, len(transfers), sent, skipped, time.monotonic() - started)


def send(
    transfers: Sequence[ImageTransfer],
    without: Container[str],
    here: LocalHost,
    host: Host,
    on_bytes: Callable[[int], None],
) -> tuple[int, str]:
    """Stream images into a host's engine; return the bytes sent and, unless all of them are whole there, what failed.

    The files that name the images come last in the stream: of one that is cut off the engine keeps nothing.
    """
    with (
        here.stream(docker("save", *(transfer.kept for transfer in transfers)).as_query()) as saved,
        host.open(docker("load", "--quiet"), stdin_open=True) as loading,
    ):
        assert saved.stdout  # noqa: S101  # a process that was opened has one
        assert loading.stdin  # noqa: S101  # it was opened with stdin_open
        assert loading.stdout  # noqa: S101  # as above
        sent, broken = 0, ""
        try:
            for part in archive.copied(saved.stdout, without):
                on_bytes(sent)
                loading.stdin.write(part)
                sent += len(part)
        except (tarfile.TarError, OSError) as error:  # either side has ended; the host's output comes first
            printed = inventory.end(saved)
            broken = f"{error}; `docker save` printed{printed}" if printed else str(error)
        with suppress(OSError):
            loading.stdin.close()
        output = loading.stdout.read().decode(errors="replace").strip()
    present = inventory.observe(host)
    if not loading.returncode and not broken and all(present.has(transfer.image) for transfer in transfers):
        return sent, ""
    for transfer in transfers:  # none was whole there before; the containerd store keeps names of incomplete images
        host.try_run(docker("image", "rm", present.id(transfer.image)))
    if loading.returncode and output:
        return sent, "\n".join(filter(None, [output, broken]))
    return sent, f"`docker load` ended with {loading.returncode}; {broken or 'the engine lists no whole image'}"
