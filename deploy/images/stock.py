"""What a revision's images are made of, and which of that an engine has."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from pydantic import ValidationError

from deploy.config.settings import Settings
from deploy.core.errors import OpsError, Refused, refuse
from deploy.core.model import Digests, Pushed
from deploy.core.shell import docker
from deploy.hosts import fleet
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.images import archive, build
from deploy.images.archive import Archived


@dataclass(frozen=True)
class Parcel:
    """An image that is to travel: its name in compose files, the name it keeps, and what it is made of."""

    name: str
    kept: str
    image: Archived


@dataclass(frozen=True)
class Stock:
    """What a host's engine has: whole images by their ids, and layers by their chains."""

    classic: bool
    ids: frozenset[str]
    chains: frozenset[str]

    def has(self, image: Digests | Archived) -> bool:
        """Tell whether an image is here, every blob of it."""
        return self.id(image) in self.ids

    def id(self, image: Digests | Archived) -> str:
        """Return what this engine calls an image: the classic store knows the configuration's digest only."""
        return image.config if self.classic else image.digest


def look(host: Host) -> Stock:
    """Ask a host's engine what it has.

    The containerd store goes on knowing the name and the id of an image that lacks a blob, but it does not list it.
    """
    classic = not build.uses_containerd_store(host)
    ids = sorted(set(host.run(docker("image", "ls", "--quiet", "--no-trunc")).split()))
    layers = host.try_run(docker("image", "inspect", "--format", "{{json .RootFS.Layers}}", *ids)).stdout if ids else ""
    chains = (name for line in layers.splitlines() for name in archive.chain(json.loads(line) or ()))
    return Stock(classic, frozenset(ids), frozenset(chains))


def parcels(names: Iterable[str], built: Iterable[str], revision: str, here: LocalHost) -> tuple[Parcel, ...]:
    """Find a revision's images here, those that were built and those of others; raise Refused when one was not built."""
    own, wanted = set(built), sorted(set(names))
    missing = [kept for name in wanted if name in own and not build.identify(kept := build.kept(name, revision), here)]
    if missing:
        raise Refused(f"not built here, or pruned: {', '.join(missing)}", where=here.name, then="inv build --push")
    return tuple(parcel(name, build.kept(name, revision), name in own, here) for name in wanted)


def parcel(name: str, kept: str, own: bool, here: LocalHost) -> Parcel:
    """Find one image here; pull one of others, and give it the name under which it travels."""
    found = build.identify(kept if own else name, here) or build.pulled(name, here)
    here.run(docker("tag", found, kept))
    return Parcel(name, kept, archived(kept, found, here))


def archived(name: str, identity: str, here: LocalHost) -> Archived:
    """Say what an image is made of; each is read once, and what was found is kept by its id.

    Docker says it only at the end of `docker save`, which takes a second for each 60 MB.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bookreader-ops" / "images"
    known = cache / f"{identity.replace(':', '-')}.json"
    try:
        return Archived.model_validate_json(here.read(known) or "")
    except ValidationError:
        pass
    with TemporaryFile() as complaints, here.stream(docker("save", name), complaints) as saved:
        assert saved.stdout  # noqa: S101  # a process that was opened has one
        try:
            found = archive.read(saved.stdout)
        except (tarfile.TarError, LookupError, ValueError):
            told = f"`docker save {name}` gives nothing that can be shipped{heard(complaints)}"
            raise OpsError(told, where=here.name, then="inv build; `docker version` must say 25 or later") from None
    here.write(known, found.model_dump_json())
    return found


def heard(complaints: IO[bytes]) -> str:
    """Return what a program said beside its output, as further lines; nothing when it said nothing."""
    complaints.seek(0)
    said = complaints.read().decode(errors="replace").strip()
    return f":\n{said}" if said else ""


def require_architecture(parcels: Sequence[Parcel], here: LocalHost, hosts: Sequence[Host], at_once: int) -> None:
    """Refuse images that are built for another processor than a host's: its engine would take them, and their programs would not start."""
    shown = here.run(docker("image", "inspect", "--format", "{{.Architecture}}", *(parcel.kept for parcel in parcels)))
    built = dict(zip((parcel.name for parcel in parcels), shown.split(), strict=True))
    wrong = {
        name: f"{name} is {found}; built for another: "
        + ", ".join(f"{image} ({other})" for image, other in built.items() if other != found)
        for name, found in fleet.each(hosts, architecture, among=hosts, at_once=at_once).items()
        if found and any(other != found for other in built.values())
    }
    then = 'build on a machine like the hosts, or give the bake file\'s targets platforms = ["linux/…"]; then inv build --push'
    refuse("images for another processor:", list(wrong.values()), where=", ".join(wrong), then=then)


def architecture(host: Host) -> str:
    """Return what a host's engine runs, as images name it; empty where nobody answers, which is told when images are to go there."""
    with suppress(OpsError):
        return host.run(docker("version", "--format", "{{.Server.Arch}}"), timeout=20).strip()
    return ""


def record_file(state_dir: Path, revision: str) -> Path:
    """Return the file on a host that lists the images of a revision."""
    return state_dir / "images" / f"{revision}.json"


def keep(host: Host, state_dir: Path, revision: str, arrived: Iterable[Parcel], seen: Stock) -> None:
    """Name images that are on a host, so that no prune takes them, and leave the record of them there."""
    images = dict[str, Digests]()
    for one in arrived:
        host.run(docker("tag", seen.id(one.image), one.kept))
        images[one.name] = Digests(digest=one.image.digest, config=one.image.config)
    host.write(record_file(state_dir, revision), Pushed(images).model_dump_json(indent=2) + "\n")


def recorded(host: Host, state_dir: Path, revision: str) -> dict[str, Digests]:
    """Read the record of a revision's images on a host; nothing when there is none that can be read."""
    try:
        return Pushed.model_validate_json(host.read(record_file(state_dir, revision)) or "{}").root
    except ValidationError:
        return {}


def pushed(settings: Settings, host: Host, revision: str, names: Iterable[str]) -> dict[str, Digests]:
    """Say which images a host was given for a revision; raise Refused unless its engine still has every one of them, whole."""
    known, seen = recorded(host, settings.state_dir, revision), look(host)
    missing = [name for name in sorted(set(names)) if name not in known or not seen.has(known[name])]
    if missing:
        lacks = f"the images of {revision}: {', '.join(missing)}" if known else f"any images of {revision}: none were brought there"
        told = f"{host.name} does not have {lacks}"
        raise Refused(told, where=host.name, then=f"inv build --push --env={settings.env}")
    return known
