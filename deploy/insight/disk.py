"""Measure what takes space, and name the command that frees most of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, acting
from deploy.hosts import fleet
from deploy.hosts.host import Host
from deploy.insight import prune
from deploy.insight.space import GIGABYTE, cache_bytes, folder_bytes, log_bytes, shown

PRUNE = "inv prune"
IMAGES = "see docker image ls; inv prune would remove none of this environment's"
CACHE = "docker builder prune; the next build takes longer then"
STATE = "lower rollout.keep_releases, then inv prune"
DATA = "this is the app's data: delete some in the app, or give the machine a larger disk"
OTHERS = "see docker system df --verbose; they belong to other projects"
LOG = "set logging.options.max-size in the compose file; it holds from the service's next container on"
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
    containers = host.engine.containers(settings.name)
    logs = [Item("log", c.name, log_bytes(host, host.engine.log_file(c.name)), LOG) for c in containers]
    size, advice = folder_bytes(host, settings.state_dir), PRUNE if waste.releases else STATE
    state = Item("state", str(settings.state_dir), size, advice)
    items = sorted([*engine_items(used, settings.name, waste), *logs, state], key=lambda item: -(item.bytes or 0))
    places = dict.fromkeys((settings.state_dir, host.engine.folder()))
    free = {str(place): host.free_bytes(place) for place in places}
    items = [replace(item, next=acting(item.next, settings.env)) for item in items]
    return Disk(tuple(items), free, int(settings.rollout.free_disk_gb * GIGABYTE))


def engine_items(used: dict[str, Any], environment: str, waste: prune.Waste) -> Iterator[Item]:
    """Read the engine's own report; volumes by name where they are this environment's. Pure."""
    advice = PRUNE if waste.names or waste.unnamed else IMAGES
    yield Item("images", "all of this engine's", used["LayersSize"] or 0, advice)
    yield Item("build cache", "all of this engine's", cache_bytes(used), PRUNE if waste.cache else CACHE)
    sizes = {v["Name"]: max(v["UsageData"]["Size"], 0) for v in used["Volumes"] or []}
    ours = [v["Name"] for v in used["Volumes"] or [] if (v["Labels"] or {}).get(PROJECT) == environment]
    yield from (Item("volume", name, sizes[name], DATA) for name in ours)
    if others := sizes.keys() - ours:
        yield Item(
            "volumes", f"{len(others)} that are not {environment}'s", sum(sizes[name] for name in others), OTHERS
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
