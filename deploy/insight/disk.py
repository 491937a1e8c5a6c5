"""Where the space goes, and what gives most of it back."""

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
IMAGES = "docker image ls shows whose they are; of this environment's releases none can go"
CACHE = "docker builder prune; the next build takes longer"
STATE = "fewer rollout.keep_releases, then inv prune"
DATA = "that is the app's data: tidy up in the app, or give the machine a larger disk"
OTHERS = "docker system df --verbose says whose they are"
LOG = "set max-size under logging: in the compose file; the service's next container keeps to it"
PROJECT = "com.docker.compose.project"


@dataclass(frozen=True)
class Item:
    """One thing that takes space; `bytes` is None when this account may not look."""

    what: str
    name: str
    bytes: int | None
    next: str


@dataclass(frozen=True)
class Disk:
    """What takes space, largest first, and how many bytes are free at which place."""

    items: tuple[Item, ...]
    free: dict[str, int]
    wanted: int


def look(settings: Settings, host: Host) -> Disk:
    """Measure everything that grows."""
    used, waste = host.engine.usage(), prune.NOTHING
    with suppress(OpsError):  # with a broken state all the rest is still worth knowing
        waste = prune.look(settings, host, used)
    logs = [Item("log", c.name, log_bytes(host, host.engine.log_file(c.name)), LOG) for c in host.engine.containers(settings.name)]
    state = Item("state", str(settings.state_dir), folder_bytes(host, settings.state_dir), PRUNE if waste.releases else STATE)
    items = sorted([*engine_items(used, settings.name, waste), *logs, state], key=lambda item: -(item.bytes or 0))
    places = dict.fromkeys((settings.state_dir, host.engine.folder()))
    free = {str(place): host.free_bytes(place) for place in places}
    items = [replace(item, next=acting(item.next, settings.env)) for item in items]
    return Disk(tuple(items), free, int(settings.rollout.free_disk_gb * GIGABYTE))


def engine_items(used: dict[str, Any], environment: str, waste: prune.Waste) -> Iterator[Item]:
    """Read what the engine says of itself; volumes by name where they are this environment's. Pure."""
    yield Item("images", "all of this engine's", used["LayersSize"] or 0, PRUNE if waste.names or waste.unnamed else IMAGES)
    yield Item("build cache", "all of this engine's", cache_bytes(used), PRUNE if waste.cache else CACHE)
    sizes = {v["Name"]: max(v["UsageData"]["Size"], 0) for v in used["Volumes"] or []}
    ours = [v["Name"] for v in used["Volumes"] or [] if (v["Labels"] or {}).get(PROJECT) == environment]
    yield from (Item("volume", name, sizes[name], DATA) for name in ours)
    if others := sizes.keys() - ours:
        yield Item("volumes", f"{len(others)} that are not {environment}'s", sum(sizes[name] for name in others), OTHERS)


def show(at: Environment, *, json: bool) -> None:
    """Show for each host what takes space, largest first, what is free, and the command for the largest; hosts not seen are said."""
    known, unseen = at.some(lambda host: look(at.settings, host))
    if known:
        present(known, at.settings.env, json=json)
    fleet.tell(unseen, documented=json and bool(known))


def present(known: Mapping[str, Disk], env: str, *, json: bool) -> None:
    """Present what was measured, as tables or as one document."""
    if json:
        console.document({"env": env, "hosts": [{"name": name, **document(disk)} for name, disk in known.items()]})
        return
    several = len(known) > 1
    rows = {name: [[item.what, shown(item.bytes), item.name] for item in disk.items] for name, disk in known.items()}
    console.table_of(["what", "size", "of"], rows, several=several)
    for name, disk in known.items():
        with console.speaking(f"{name} | " if several else ""):
            tell(disk)


def document(known: Disk) -> dict[str, object]:
    """Return what takes space, for programs."""
    free = [{"place": place, "bytes": size} for place, size in known.free.items()]
    return {"items": [asdict(item) for item in known.items], "free": free, "next": known.items[0].next}


def tell(known: Disk) -> None:
    """Say what is free, and what takes most."""
    largest = known.items[0]
    for place, size in known.free.items():
        if size < known.wanted:
            console.warn(f"{shown(size)} free at {place}; a deploy wants {shown(known.wanted)}")
        else:
            console.say(f"{shown(size)} free at {place}")
    console.say(f"most is in {largest.what}: {shown(largest.bytes)}\nnext: {largest.next}")
