"""Measure what takes space, and name the command that frees most of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, acting
from deploy.hosts import fleet
from deploy.hosts.host import Host
from deploy.insight import prune
from deploy.insight.space import (
    GIGABYTE,
    FileSystem,
    cache_bytes,
    file_systems,
    folder_bytes,
    log_bytes,
    readable_bytes,
    shown,
)

PRUNE = "inv prune"
IMAGES = "see docker image ls; inv prune would remove none of this environment's"
CACHE = "docker builder prune; the next build takes longer then"
STATE = "lower rollout.keep_releases, then inv prune"
DATA = "this is the app's data: delete some in the app, or give the machine a larger disk"
OTHERS = "see docker system df --verbose; they belong to other projects"
LOG = "set logging.options.max-size in the compose file; it holds from the service's next container on"
OTHER_LOGS = "as root: du -h {} | sort -h | tail; set max-size of the log driver in /etc/docker/daemon.json"
UNUSED = "see docker volume ls --filter dangling=true; docker volume rm NAME, once you know whose it is: it is data"
BACKUPS = "inv backup.prune, or a repository elsewhere: backup.offsite"
REST = "as root: du -xh --max-depth=3 {} | sort -h | tail -n 20"
CONTAINERD = Path("/var/lib/containerd")
CONTENT, SNAPSHOTS = "io.containerd.content.v1.content", "io.containerd.snapshotter.v1.overlayfs"
VOLUME, BACKUP_VOLUMES = "com.docker.compose.volume", ("backups", "wal")
PROJECT = "com.docker.compose.project"


@dataclass(frozen=True)
class Item:
    """One thing that takes space; `bytes` is None when this account may not read it."""

    what: str
    name: str
    bytes: int | None
    next: str


@dataclass(frozen=True)
class Disk:
    """What takes space, largest first, and how many bytes are free at which place."""

    items: tuple[Item, ...]
    free: dict[str, int]
    required: int


def measure(settings: Settings, host: Host) -> Disk:
    """Measure everything that grows."""
    used, waste = host.engine.usage(), prune.NOTHING
    with suppress(OpsError):  # with a broken state folder all the rest is still worth measuring
        waste = prune.find_waste(settings, host, used)
    engine, containers = host.engine.folder(), host.engine.containers(settings.name)
    logs = [Item("log", c.name, log_bytes(host, host.engine.log_file(c.name)), LOG) for c in containers]
    size, advice = folder_bytes(host, settings.state_dir), PRUNE if waste.releases else STATE
    used = {**used, "LayersSize": max(used["LayersSize"] or 0, unpacked(host, engine) - cache_bytes(used))}
    of_engine = [*engine_items(used, settings.name, waste), *logs, *other_logs(host, engine, logs)]
    counted = [(settings.state_dir, Item("state", str(settings.state_dir), size, advice))]
    counted += [*((engine, item) for item in of_engine), *stores(host, engine, waste)]
    items = [item for _, item in counted]
    items += rest(counted, file_systems(host, (place for place, _ in counted)))
    free = {str(place): host.free_bytes(place) for place in dict.fromkeys((settings.state_dir, engine))}
    items = [replace(item, next=acting(item.next, settings.env)) for item in items]
    items.sort(key=lambda item: -(item.bytes or 0))
    return Disk(tuple(items), free, int(settings.rollout.free_disk_gb * GIGABYTE))


def other_logs(host: Host, engine: Path, logs: Iterable[Item]) -> Iterator[Item]:
    """Yield what the folders of all containers take beyond the logs that are named."""
    size = readable_bytes(host, engine / "containers")
    others = None if size is None else max(0, size - sum(item.bytes or 0 for item in logs))
    if others != 0:
        yield Item("logs", "other containers", others, OTHER_LOGS.format(engine / "containers"))


def unpacked(host: Host, engine: Path) -> int:
    """Add up what containerd unpacked of images and build cache: there the engine says too little (85 MB of 17 GB)."""
    return sum(readable_bytes(host, place / SNAPSHOTS) or 0 for place in containerd_folders(engine))


def containerd_folders(engine: Path) -> tuple[Path, Path]:
    """Return where containerd keeps its data: started by the engine, or by itself. Pure."""
    return engine / "containerd" / "daemon", CONTAINERD


def stores(host: Host, engine: Path, waste: prune.Waste) -> Iterator[tuple[Path, Item]]:
    """Yield containerd's stores with what images were loaded from, and what was unpacked of it."""
    for place in containerd_folders(engine):
        if size := readable_bytes(host, place / CONTENT):
            yield place, Item("image blobs", str(place), size, PRUNE if waste.names or waste.unnamed else IMAGES)


def rest(counted: Iterable[tuple[Path, Item]], systems: Mapping[Path, FileSystem]) -> Iterator[Item]:
    """Yield what is used of each file system beyond what was counted there. Pure."""
    left = {system.number: system.used for system in systems.values()}
    for place, item in counted:
        left[systems[place].number] -= item.bytes or 0
    for number, size in left.items():
        target = min((one.target for one in systems.values() if one.number == number), key=len)
        if size > 0:
            yield Item("other", f"the rest of {target}", size, REST.format(target))


def engine_items(used: dict[str, Any], environment: str, waste: prune.Waste) -> Iterator[Item]:
    """Read the engine's own report; volumes by name where they are this environment's. Pure."""
    advice = PRUNE if waste.names or waste.unnamed else IMAGES
    volumes = used["Volumes"] or []
    yield Item("images", "all of this engine's", used["LayersSize"] or 0, advice)
    yield Item("build cache", "all of this engine's", cache_bytes(used), PRUNE if waste.cache else CACHE)
    sizes = {v["Name"]: max(v["UsageData"]["Size"], 0) for v in volumes}
    ours = {v["Name"]: v["Labels"] for v in volumes if (v["Labels"] or {}).get(PROJECT) == environment}
    for name, labels in ours.items():
        yield Item("volume", name, sizes[name], BACKUPS if labels.get(VOLUME) in BACKUP_VOLUMES else DATA)
    unused = {v["Name"] for v in volumes if v["UsageData"].get("RefCount") == 0} - ours.keys()
    others = sizes.keys() - ours.keys() - unused
    for names, which, advice in ((others, "not", OTHERS), (unused, "used by no container, and not", UNUSED)):
        if names:
            yield Item(
                "volumes", f"{len(names)} that are {which} {environment}'s", sum(sizes[name] for name in names), advice
            )


def show(at: Environment, *, json: bool) -> None:
    """Show for each host what takes space, largest first, what is free, and the command for the largest.

    Raises what kept hosts from being reached, once the others are shown.
    """
    disks, unreachable = at.gather(lambda host: measure(at.settings, host))
    if disks:
        show_disks(disks, at.settings.env, json=json)
    fleet.raise_unreachable(unreachable, documented=json and bool(disks))


def show_disks(disks: Mapping[str, Disk], env: str, *, json: bool) -> None:
    """Show what was measured, as tables or as one document."""
    if json:
        console.document({"env": env, "hosts": [{"name": name, **document(disk)} for name, disk in disks.items()]})
        return
    several = len(disks) > 1
    rows = {name: [[item.what, shown(item.bytes), item.name] for item in disk.items] for name, disk in disks.items()}
    console.table_of(["what", "size", "of"], rows, several=several)
    for name, disk in disks.items():
        with console.speaking(f"{name} | " if several else ""):
            summarize(disk)


def document(disk: Disk) -> dict[str, object]:
    """Return what takes space, for programs."""
    free = [{"place": place, "bytes": size} for place, size in disk.free.items()]
    return {"items": [asdict(item) for item in disk.items], "free": free, "next": disk.items[0].next}


def summarize(disk: Disk) -> None:
    """Say what is free, and what takes most."""
    largest = disk.items[0]
    for place, size in disk.free.items():
        if size < disk.required:
            console.warn(f"{shown(size)} free at {place}; a deploy needs {shown(disk.required)}")
        else:
            console.say(f"{shown(size)} free at {place}")
    console.say(f"largest: {largest.what}, {shown(largest.bytes)}\nnext: {largest.next}")
