"""Roles that have moved to another host: refused where a release would miss its data, or an edge its app."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from contextlib import suppress

from deploy.config.compose import Model
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, refuse
from deploy.core.facts import Facts
from deploy.core.model import Release
from deploy.hosts.host import Host
from deploy.release import placement, render
from deploy.state.store import state_of


def recorded(at: Environment, facts: Mapping[str, Facts]) -> dict[str, Release]:
    """Return the release that each host accepted last; none for a host whose record is lost."""

    def read(host: Host) -> Release | None:
        state, own = state_of(at, host), facts[host.name]
        with suppress(OpsError):  # as far as the ledger can be read; a bundle may be lost, or of another version
            return state.release(own.accepted or own.edge.release or next(iter(state.served()), ""))
        return None

    return {name: release for name, release in at.each(read).items() if release}


def require_roles_fit(at: Environment, model: Model, placed: Mapping[str, Model], facts: Mapping[str, Facts]) -> None:
    """Refuse roles that have moved away from data or a running edge; warn of hosts that were taken out."""
    releases = recorded(at, facts)
    edgeless = [name for name, release in releases.items() if not release.of("edge")]
    require_in_place(at.settings, model, placed, facts, removed_hosts(at, releases), edgeless)


def removed_hosts(at: Environment, releases: Mapping[str, Release]) -> list[str]:
    """Name the hosts of the releases in service that [hosts] has no more; warn, since what runs there goes on."""
    recorded_hosts = {name for release in releases.values() for name in release.hosts}
    gone = sorted(recorded_hosts - {host.name for host in at.hosts})
    if gone:
        what = f"{', '.join(gone)} was removed from [hosts] but still runs what it had, workers and the scheduler too"
        then = 'to decommission it: put it back with roles = ["monitoring"], inv deploy, then remove it'
        console.warn(f"{what}; unless it is dead, {then}")
    return gone


def require_in_place(
    settings: Settings, model: Model, placed: Mapping[str, Model], facts: Mapping[str, Facts],
    gone: Sequence[str] = (), edgeless: Sequence[str] = (),
) -> None:  # fmt: skip
    """Refuse data that would begin empty while another host, maybe a `gone` one, has it; an edge that comes or goes.

    Hosts that are `edgeless` have no edge in the release in service.
    """
    mistakes = []
    for service in model.of("data"):
        declared = render.resources(model.volumes, settings.name)
        volumes = {declared[volume]["name"] for volume in placement.volumes(service)}
        mistakes += data_moves(service.name, volumes, placed, facts, gone)
    for host, own in facts.items():
        has_edge = bool(placed[host].of("edge"))
        if not has_edge and any(c.role == "edge" for c in own.shared_alive.values()):
            stop = f"docker stop {settings.name}-edge-1"
            mistakes.append(f"{host} has no role edge, and its edge answers: give it the role, or `{stop}` there first")
        if has_edge and host in edgeless and any(c.colour and c.alive for c in own.containers):
            then = 'deploy with roles = ["monitoring"] first, which empties it'
            mistakes.append(f"{host} gets the role edge while it works without: {then}")
    refuse(
        "roles have moved away from what is there:",
        mistakes,
        where="[hosts]",
        then="fix that, then inv plan",
        slug="roles-moved",
    )


def data_moves(
    name: str, volumes: Set[str], placed: Mapping[str, Model], facts: Mapping[str, Facts], gone: Sequence[str]
) -> list[str]:  # fmt: skip
    """Say why a data service cannot begin on the host that is to have it. Pure."""
    owner = next(host for host, own in placed.items() if name in {one.name for one in own.services})
    has = {host: name in {c.service for c in own.containers} for host, own in facts.items()}
    kept = {host for host, own in facts.items() if volumes & own.resources or has[host]}
    running = [host for host, own in facts.items() if name in own.shared_alive]
    mistakes = []
    if kept and owner not in kept:
        then = "leave it there, or bring it first"
        mistakes.append(f"{name} would begin empty on {owner}, and {', '.join(sorted(kept))} has its data: {then}")
    if running and owner not in running:
        mistakes.append(f"{name} still runs on {', '.join(running)}, and {owner} is to have it: stop it there first")
    elif volumes and gone and not kept and any(own.accepted or own.unrecorded for own in facts.values()):
        make = f"docker volume create {' '.join(sorted(volumes))}"
        lost = f"{', '.join(gone)}, removed from [hosts], may have its data: put it back, or bring the data"
        mistakes.append(f"{name} would begin empty on {owner}, and {lost}; to begin empty: `{make}` on {owner}")
    return mistakes


def require_unmoved(releases: Mapping[str, Release], facts: Mapping[str, Facts]) -> None:
    """Refuse an earlier release that would look for data where it is no more, or leave an edge without an app."""
    mistakes = [
        f"{service.name} runs on {there}, and release {release.id} has it on {host}"
        for host, release in releases.items() for service in release.of("data")
        for there, own in facts.items()
        if service.name in own.shared_alive and service.name not in facts[host].shared_alive
    ]  # fmt: skip
    mistakes += [
        f"{host} has an edge, and in release {release.id} it has none: visitors would get errors there"
        for host, release in releases.items()
        if not release.of("edge") and facts[host].edge.release
        and any(c.role == "edge" for c in facts[host].shared_alive.values())
    ]  # fmt: skip
    then = "go forward with inv deploy; or bring back there first what has moved"
    refuse("roles have moved since:", mistakes, where="[hosts]", then=then, slug="roles-moved")
