"""Remove what nobody will go back to: by the ledger, not by age."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import Refused, acting, begun
from deploy.core.shell import command, docker
from deploy.hosts.host import Host
from deploy.images import inventory
from deploy.images.bake import LABEL
from deploy.insight.space import GIGABYTE, cache_bytes, folder_bytes, shown
from deploy.rollout.lineage import previous, too_old
from deploy.site.facts import observe, telling
from deploy.state import lock
from deploy.state.store import State


@dataclass(frozen=True)
class Waste:
    """What can go: releases, revisions that were brought here, names of images of both, our images without a name, bytes of build cache."""

    releases: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    cache: int = 0


NOTHING = Waste()


def prune(at: Environment, *, yes: bool, json: bool) -> None:
    """Say what can go, ask, remove it under the lock, and say what that freed."""
    with telling(at):
        waste, freed = at.each(lambda host: look(at.settings, host, host.engine.usage())), dict[str, int]()
        at.each(lambda host: tell(waste[host.name], at.settings))
        if any(found != NOTHING for found in waste.values()):
            console.confirm("That is removed for good.", yes=yes)
            with lock.held(at.hosts, at.settings.state_dir, "prune"):
                now = at.each(lambda host: look(at.settings, host, host.engine.usage()))
                if any(now[name].releases != found.releases for name, found in waste.items()):
                    raise Refused("another release was deployed meanwhile; nothing was removed", where=at.settings.name, then="inv prune")
                with begun("inv prune again, once every host answers"):
                    freed = at.each(lambda host: remove(at.settings, host, now[host.name]))
    if json:
        found = waste.values()
        console.document({
            "releases": sorted({release for one in found for release in one.releases}), "images": [n for one in found for n in one.names],
            "unnamed_images": sum(len(one.unnamed) for one in found), "freed_bytes": sum(freed.values()),
        })  # fmt: skip


def tell(waste: Waste, settings: Settings) -> None:
    """Say what can go."""
    found = {
        "releases that nobody will go back to": ", ".join(waste.releases),
        "revisions that were brought here and never served, or no more": ", ".join(waste.revisions),
        "names of images of all these": len(waste.names),
        "images that lost their name to a later build": len(waste.unnamed),
        f"build cache beyond {settings.build.cache_gb:g} GB": shown(waste.cache) if waste.cache else "",
    }
    for what, much in found.items():
        if much:
            console.say(f"{what}: {much}")
    if waste == NOTHING:
        console.say(acting("nothing to prune; inv disk shows where the space goes", settings.env))


def look(settings: Settings, host: Host, used: dict[str, Any]) -> Waste:
    """Find what can go; `used` is what the engine says of itself."""
    old, gone = outdated(settings, host, State(host, settings.state_dir))
    kept = set(State(host, settings.state_dir).kept()) - set(old)
    brought = left(settings, host, kept)
    names, unnamed = images(used["Images"] or [], {*old, *gone, *brought, *revisions({*old, *gone}, kept)})
    return Waste(tuple(old), brought, names, unnamed, max(0, cache_bytes(used) - int(settings.build.cache_gb * GIGABYTE)))


def outdated(settings: Settings, host: Host, state: State) -> tuple[list[str], list[str]]:
    """Return releases that are kept here and that nobody will go back to, and those of the ledger that are gone already.

    Besides what a deploy keeps, these stay: the one before, of which `inv rollback` takes the way, what a container is
    made of, and what an interrupted command was about.
    """
    facts, intention = observe(settings, host), state.intention()
    needed = {facts.edge.release, *(c.release for c in facts.containers), *([intention.target] if intention else [])}
    with suppress(Refused):
        needed.add(previous(state, facts))
    old = too_old(state, facts.edge.release, facts, settings.rollout.keep_releases) if facts.edge.release else []
    gone = {entry.release for entry in state.ledger()} - set(state.kept()) - needed
    return [release for release in old if release not in needed], sorted(gone)


def revisions(gone: set[str], kept: set[str]) -> set[str]:
    """Return the revisions of which no release is kept: `inv build` names images after them. Pure."""
    return {release.rpartition("-")[0] for release in gone} - {release.rpartition("-")[0] for release in kept} - {""}


def left(settings: Settings, host: Host, kept: set[str]) -> tuple[str, ...]:
    """Return the revisions that were brought here and of which no release is kept, but for the last one: it may be about to be deployed."""
    names = host.names(inventory.record_file(settings.state_dir, "").parent)
    brought = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))  # a full disk leaves halves of others
    if not brought:
        return ()
    times = host.run(command("stat", "--format=%.9Y", *(str(inventory.record_file(settings.state_dir, one)) for one in brought))).split()
    last = max(zip(map(float, times), brought, strict=True))[1]
    return tuple(one for one in brought if one != last and one not in {release.rpartition("-")[0] for release in kept})


def images(known: list[dict[str, Any]], releases: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Find the images' names that end with one of these releases, and our images without a name. Pure."""
    names = (name for image in known for name in image["RepoTags"] or ())
    unnamed = (image["Id"] for image in known if not image["RepoTags"] and LABEL in (image["Labels"] or {}))
    return tuple(name for name in names if name.rpartition(":")[2] in releases), tuple(unnamed)


def remove(settings: Settings, host: Host, waste: Waste) -> int:
    """Remove it; return how many bytes less are taken."""
    state, before = State(host, settings.state_dir), taken(settings, host)
    with console.step("remove releases and images"):
        if known := (*waste.names, *waste.unnamed):
            host.try_run(docker("image", "rm", *known))  # what a container is made of stays
        for release in waste.releases:
            host.remove(state.bundle_folder(release))
        for revision in waste.revisions:
            host.remove(inventory.record_file(settings.state_dir, revision))
    if waste.cache:
        with console.step("remove build cache"):
            host.run(docker("builder", "prune", "--force", "--keep-storage", int(settings.build.cache_gb * GIGABYTE)))
    state.note(command="prune", state="done", releases=waste.releases)
    freed = max(0, before - taken(settings, host))
    console.say(f"freed {shown(freed)}; {shown(host.free_bytes(host.engine.folder()))} are free")
    return freed


def taken(settings: Settings, host: Host) -> int:
    """Add up what images, build cache and releases take."""
    used = host.engine.usage()
    return int(used["LayersSize"] or 0) + cache_bytes(used) + folder_bytes(host, settings.state_dir)
