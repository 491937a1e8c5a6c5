"""What a revision's images are made of, and what of that an engine has."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from subprocess import TimeoutExpired

from pydantic import ValidationError

from deploy.config.settings import Settings
from deploy.core.errors import OpsError, Refused, refuse
from deploy.core.model import Digests, Pushed
from deploy.core.shell import docker
from deploy.hosts import fleet
from deploy.hosts.host import Host, Process
from deploy.hosts.local import LocalHost
from deploy.images import archive, build, tags
from deploy.images.archive import Archived
from deploy.state import kept
from deploy.state.folder import Folder


@dataclass(frozen=True)
class ImageTransfer:
    """An image to be brought to hosts: its name in compose files, its name on every host, and what it is made of."""

    name: str
    kept: str
    image: Archived


@dataclass(frozen=True)
class Inventory:
    """What a host's engine has: whole images by their ids."""

    classic: bool
    ids: frozenset[str]

    def has(self, image: Digests | Archived) -> bool:
        """Tell whether the whole image is here, every blob of it."""
        return self.id(image) in self.ids

    def id(self, image: Digests | Archived) -> str:
        """Return the id by which this engine lists an image: the classic store has only the configuration's digest."""
        return image.config if self.classic else image.digest


def observe(host: Host, *names: str) -> Inventory:
    """Ask a host's engine what it has, or has by these names: it takes about 10 ms for each image that it lists.

    The containerd store keeps the name and the id of an image that lacks a blob, but it does not list that image.
    """
    filters = [f"--filter=reference={name}" for name in names]
    ids = frozenset(host.run(docker("image", "ls", "--quiet", "--no-trunc", *filters).as_query()).split())
    return Inventory(not build.uses_containerd_store(host), ids)


def chains(host: Host, ids: Iterable[str]) -> frozenset[str]:
    """List the layers of a host's images by their chains, which takes about 10 ms for each image."""
    inspect = docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", *sorted(ids)).as_query()
    layers = host.try_run(inspect).stdout if ids else ""
    return frozenset(name for line in layers.splitlines() for name in archive.chain(json.loads(line) or ()))


def find_transfers(
    names: Iterable[str], built: Iterable[str], revision: str, here: LocalHost
) -> tuple[ImageTransfer, ...]:
    """Find a revision's images here, those that were built and third-party ones.

    Raises Refused (`image-missing`) when one was not built.
    """
    own, requested = set(built), sorted(set(names))
    missing = [kept for name in requested if name in own and not tags.identify(kept := tags.kept(name, revision), here)]
    if missing:
        what = f"these images are not on this machine, they were not built or were pruned: {', '.join(missing)}"
        raise Refused(what, where=here.name, then="inv build --push", slug="image-missing")
    return tuple(find_transfer(name, tags.kept(name, revision), name in own, here) for name in requested)


def find_transfer(name: str, kept: str, own: bool, here: LocalHost) -> ImageTransfer:
    """Find one image here, pull a third-party one that is not, and tag it with the name that it has on every host."""
    identity = tags.identify(kept if own else name, here) or tags.pull(name, here)
    here.run(docker("tag", identity, kept))
    return ImageTransfer(name, kept, read_archive(kept, identity, here))


def read_archive(name: str, identity: str, here: LocalHost) -> Archived:
    """Describe what an image is made of; each image is read once, the result is cached by the image's id.

    Docker prints it only at the end of `docker save`, which takes a second for each 60 MB.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bookreader-ops" / "images"
    cached = cache / f"{identity.replace(':', '-')}.json"
    try:
        return Archived.model_validate_json(here.read(cached) or "")
    except ValidationError:
        pass
    with here.stream(docker("save", name).as_query()) as saved:
        assert saved.stdout  # noqa: S101  # a process that was opened has one
        try:
            image = archive.read(saved.stdout)
        except (tarfile.TarError, LookupError, ValueError):
            what = f"`docker save {name}` did not print an image archive{end(saved)}"
            then = "inv build; `docker version` must be 25 or later"
            raise OpsError(what, where=here.name, then=then, slug="image-unreadable") from None
    with suppress(OSError):  # another command may write the same, or the disk be full
        here.write(cached, image.model_dump_json())
    return image


def end(process: Process) -> str:
    """Let a program end, or end it; return what it wrote to stderr, as further lines, nothing when it wrote nothing."""
    with suppress(TimeoutExpired):
        process.wait(1)  # it may have more to write, or wait for a reader
    process.terminate()
    process.wait()
    return f":\n{text}" if (text := process.error_output.strip()) else ""


def require_architecture(
    transfers: Sequence[ImageTransfer], here: LocalHost, hosts: Sequence[Host], at_once: int
) -> None:
    """Refuse images that are built for another processor than a host's.

    The host's engine would take them, and their programs would not start.
    """
    shown = here.run(
        docker("image", "inspect", "--format", "{{.Architecture}}", *(transfer.kept for transfer in transfers))
    )
    built = dict(zip((transfer.name for transfer in transfers), shown.split(), strict=True))
    wrong = {
        name: f"{name} is {own}; built for another: "
        + ", ".join(f"{image} ({other})" for image, other in built.items() if other != own)
        for name, own in fleet.each(hosts, architecture, among=hosts, at_once=at_once).items()
        if own and any(other != own for other in built.values())
    }
    title = "images are built for another processor than the host's:"
    then = 'set platforms = ["linux/…"] in the bake file, or build on a machine like the hosts; then inv build --push'
    refuse(title, list(wrong.values()), where=", ".join(wrong), then=then, slug="architecture-mismatch")


def architecture(host: Host) -> str:
    """Return the processor of a host's engine, as images name it; empty for a host that does not answer.

    Sending images there says why.
    """
    with suppress(OpsError):
        return host.run(docker("version", "--format", "{{.Server.Arch}}"), timeout=20).strip()
    return ""


def record_file(state_dir: Path, revision: str) -> Path:
    """Return the file on a host that lists the images of a revision."""
    return state_dir / "images" / f"{revision}.json"


def record(host: Host, state_dir: Path, revision: str, arrived: Iterable[ImageTransfer], inventory: Inventory) -> None:
    """Tag the images on a host, so that no prune removes them, and write the record of them there."""
    there = tuple(arrived)
    host.concurrently(*(partial(host.run, docker("tag", inventory.id(one.image), one.kept)) for one in there))
    images = {one.name: Digests(digest=one.image.digest, config=one.image.config) for one in there}
    path = record_file(state_dir, revision)
    before = Folder(host, state_dir).replaced(Pushed, path)
    same = {name: was for name, was in before.images.items() if is_same(was, images.get(name))} if before else {}
    host.write(path, kept.dump(kept.carry(Pushed(images=images | same), before), indent=2) + "\n")


def is_same(one: Digests, other: Digests | None) -> bool:
    """Tell whether two records are of one image, whatever else a newer toolkit has recorded of it. Pure."""
    return other is not None and (one.digest, one.config) == (other.digest, other.config)


def read_record(host: Host, state_dir: Path, revision: str) -> dict[str, Digests]:
    """Read the record of a revision's images on a host; nothing when there is no readable one.

    Refuse one that is too new.
    """
    pushed = Folder(host, state_dir).replaced(Pushed, record_file(state_dir, revision))
    return pushed.images if pushed else {}


def require_pushed(settings: Settings, host: Host, revision: str, names: Iterable[str]) -> dict[str, Digests]:
    """Return the images that a host was given for a revision.

    Raises Refused (`image-not-pushed`) unless its engine still has every one of them, whole.
    """
    given, requested = read_record(host, settings.state_dir, revision), sorted(set(names))
    inventory = observe(host, *(tags.kept(name, revision) for name in requested))
    if not all(name in given and inventory.has(given[name]) for name in requested):
        inventory = observe(host)  # they may be there by other names
    missing = [name for name in requested if name not in given or not inventory.has(given[name])]
    if missing:
        images = f"the images of {revision}: {', '.join(missing)}"
        lacks = images if given else f"any images of {revision}: none were pushed to it"
        what, then = f"{host.name} does not have {lacks}", f"inv build --push --env={settings.env}"
        raise Refused(what, where=host.name, then=then, slug="image-not-pushed")
    return given
