"""Remove releases that no rollback needs, by the ledger and not by age, and what belongs to them."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import Refused, acting, as_failure
from deploy.core.shell import docker, query
from deploy.hosts.host import Host
from deploy.images import inventory
from deploy.images.bake import LABEL
from deploy.insight.space import GIGABYTE, cache_bytes, folder_bytes, shown
from deploy.rollout.lineage import expired_releases, previous_release
from deploy.site.facts import naming_what_serves, observe
from deploy.state import locks
from deploy.state.scans import Scans
from deploy.state.store import State


@dataclass(frozen=True)
class Waste:
    """What can be removed: releases, pushed revisions, image names of both, our unnamed images, scans, build cache."""

    releases: tuple[str, ...] = ()
    revisions: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    unnamed: tuple[str, ...] = ()
    cache: int = 0
    scans: tuple[Path, ...] = ()


NOTHING = Waste()


def prune(at: Environment, *, yes: bool, json: bool) -> None:
    """Show what can be removed, ask, remove it under the lock, and say what that freed."""
    with naming_what_serves(at):
        waste, freed = at.each(lambda host: find_waste(at.settings, host, host.engine.usage())), dict[str, int]()
        at.each(lambda host: announce(waste[host.name], at.settings))
        if any(own != NOTHING for own in waste.values()):
            console.confirm("This is removed for good.", yes=yes)
            with locks.held(at.hosts, at.settings.state_dir, "prune"):
                now = at.each(lambda host: find_waste(at.settings, host, host.engine.usage()))
                if any(now[name].releases != own.releases for name, own in waste.items()):
                    what = "another release was deployed meanwhile; nothing was removed"
                    raise Refused(what, where=at.settings.name, then="inv prune", slug="release-changed")
                with as_failure("inv prune again, once every host answers"):
                    freed = at.each(lambda host: remove(at.settings, host, now[host.name]))
    if json:
        console.document(document(waste.values(), sum(freed.values())))


def document(waste: Collection[Waste], freed: int) -> dict[str, object]:
    """Return what all hosts removed, for programs; `freed` in bytes. Pure."""
    return {
        "releases": sorted({release for own in waste for release in own.releases}),
        "images": [name for own in waste for name in own.names],
        "unnamed_images": sum(len(own.unnamed) for own in waste),
        "scans": sum(len(own.scans) for own in waste),
        "freed_bytes": freed,
    }


def announce(waste: Waste, settings: Settings) -> None:
    """Say what can be removed."""
    lines = {
        "releases that no rollback needs": ", ".join(waste.releases),
        "revisions that were pushed and are not deployed": ", ".join(waste.revisions),
        "image names of these": len(waste.names),
        "images whose name a later build has taken": len(waste.unnamed),
        f"files of scans of other images, older than {settings.scan.pass_days:g} days": len(waste.scans),
        f"build cache beyond {settings.build.cache_gb:g} GB": shown(waste.cache) if waste.cache else "",
    }
    for what, value in lines.items():
        if value:
            console.say(f"{what}: {value}")
    if waste == NOTHING:
        console.say(acting("nothing to prune; inv disk shows where the space goes", settings.env))


def find_waste(settings: Settings, host: Host, used: dict[str, Any]) -> Waste:
    """Find what can be removed; `used` is the engine's own report."""
    old, gone = find_outdated(settings, host, State(host, settings.state_dir))
    kept = set(State(host, settings.state_dir).kept()) - set(old)
    pushed = find_unused_revisions(settings, host, kept)
    names, unnamed = find_images(used["Images"] or [], {*old, *gone, *pushed, *without_release({*old, *gone}, kept)})
    cache = max(0, cache_bytes(used) - int(settings.build.cache_gb * GIGABYTE))
    return Waste(tuple(old), pushed, names, unnamed, cache, find_old_scans(settings, host, kept, pushed))


def find_old_scans(settings: Settings, host: Host, kept: set[str], unused: Iterable[str]) -> tuple[Path, ...]:
    """Return the scans of images of which neither a kept release nor a pushed revision is made, and that have aged.

    None where a release's record cannot be read: its images may be any.
    """
    state, folder = State(host, settings.state_dir), settings.state_dir
    pushed = {name.removesuffix(".json") for name in host.listdir(inventory.record_file(folder, "").parent)}
    try:
        releases = [state.release(one) for one in kept]
        given = [inventory.read_record(host, folder, one) for one in pushed - {*unused}]
    except Refused:
        return ()
    needed = {digest for one in releases for digest in (*one.images.values(), *one.config_digests.values())}
    needed |= {digest for images in given for one in images.values() for digest in (one.digest, one.config)}
    return tuple(Scans(host, folder).outdated(needed, settings.scan.pass_days))


def find_outdated(settings: Settings, host: Host, state: State) -> tuple[list[str], list[str]]:
    """Return releases that are kept here and that no rollback needs, and those of the ledger that are removed already.

    Besides what a deploy keeps, these stay: the one that `inv rollback` goes to, what a container is made of, and what
    an interrupted command was about.
    """
    facts, targets = observe(settings, host), {intention.target for intention in state.interruptions()}
    needed = {facts.edge.release, *(c.release for c in facts.containers), *targets}
    with suppress(Refused):
        needed.add(previous_release(state, facts))
    serving, number = facts.edge.release, settings.rollout.keep_releases
    old = expired_releases(state, serving, facts, number) if serving else []
    gone = {entry.release for entry in state.ledger()} - set(state.kept()) - needed
    return [release for release in old if release not in needed], sorted(gone)


def without_release(gone: set[str], kept: set[str]) -> set[str]:
    """Return the revisions of which no release is kept: `inv build` tags images with them. Pure."""
    return {release.rpartition("-")[0] for release in gone} - {release.rpartition("-")[0] for release in kept} - {""}


def find_unused_revisions(settings: Settings, host: Host, kept: set[str]) -> tuple[str, ...]:
    """Return the revisions that were pushed here and of which no release is kept.

    The last one stays: it may be about to be deployed.
    """
    names = host.listdir(inventory.record_file(settings.state_dir, "").parent)
    # on a full disk half-written files have other endings
    pushed = sorted(name.removesuffix(".json") for name in names if name.endswith(".json"))
    if not pushed:
        return ()
    files = [str(inventory.record_file(settings.state_dir, one)) for one in pushed]
    times = host.run(query("stat", "--format=%.9Y", *files)).split()
    last = max(zip(map(float, times), pushed, strict=True))[1]
    return tuple(one for one in pushed if one != last and one not in {release.rpartition("-")[0] for release in kept})


def find_images(present: list[dict[str, Any]], releases: set[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the images' names that end with one of these releases, and our images without a name. Pure."""
    names = (name for image in present for name in image["RepoTags"] or ())
    unnamed = (image["Id"] for image in present if not image["RepoTags"] and LABEL in (image["Labels"] or {}))
    return tuple(name for name in names if name.rpartition(":")[2] in releases), tuple(unnamed)


def remove(settings: Settings, host: Host, waste: Waste) -> int:
    """Remove what can be removed; return the bytes that this freed."""
    state, before = State(host, settings.state_dir), used_bytes(settings, host)
    with console.step("remove releases and images"):
        if superfluous := (*waste.names, *waste.unnamed):
            host.try_run(docker("image", "rm", *superfluous))  # what a container is made of stays
        for release in waste.releases:
            host.remove(state.bundle_folder(release))
        for revision in waste.revisions:
            host.remove(inventory.record_file(settings.state_dir, revision))
        for path in waste.scans:
            host.remove(path)
    if waste.cache:
        with console.step("remove build cache"):
            host.run(docker("builder", "prune", "--force", "--keep-storage", int(settings.build.cache_gb * GIGABYTE)))
    state.note(command="prune", state="done", releases=waste.releases)
    freed = max(0, before - used_bytes(settings, host))
    console.say(f"freed {shown(freed)}; {shown(host.free_bytes(host.engine.folder()))} are free now")
    return freed


def used_bytes(settings: Settings, host: Host) -> int:
    """Add up what images, build cache and releases take."""
    used = host.engine.usage()
    return int(used["LayersSize"] or 0) + cache_bytes(used) + folder_bytes(host, settings.state_dir)
