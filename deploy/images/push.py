"""Bring a revision's images to every host, and say what that took."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from deploy.config import checkout
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, Refused
from deploy.core.shell import command
from deploy.hosts import fleet
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.images import build, registry, ship, stock
from deploy.images.ship import Shipped
from deploy.state.store import require_folder


@dataclass(frozen=True)
class Outcome:
    """What came of a push: what hosts got, and why others did not."""

    revision: str
    shipped: tuple[Shipped, ...]
    failed: dict[str, OpsError]


def push(settings: Settings, here: LocalHost, hosts: Sequence[Host], wanted: Mapping[str, Collection[str]]) -> Outcome:
    """Bring to every host the images of what runs there, by the hosts' names, a few hosts at once."""
    by = settings.ship.by
    far = [host.name for host in hosts if not isinstance(host, LocalHost)]
    if by == "local" and far:
        told = f"ship.by is local, and {', '.join(far)} is another machine"
        raise Refused(told, where=f"deploy/environments/{settings.env}.toml", then="set ship.by to ssh or registry")
    revision = checkout.read(settings.root, here).revision
    own = [target.image for target in build.read_targets(settings, here)]
    who = registry.account(settings) if by == "registry" else None
    with console.step("images of this revision"):
        parcels = stock.parcels({name for names in wanted.values() for name in names}, own, revision, here)
        stock.require_architecture(parcels, here, hosts, settings.ssh.parallel)
        fleet.each(hosts, partial(require_room, settings), among=hosts, at_once=settings.ssh.parallel)
    if who:
        with console.step(f"push to {who.address}"):
            parcels = registry.publish(parcels, who, here)

    def bring(host: Host, on_bytes: Callable[[int], None]) -> Shipped:
        own = [parcel for parcel in parcels if parcel.name in wanted[host.name]]
        if who:
            return registry.fetch(own, revision, settings.state_dir, who, host)
        return ship.ship(own, revision, settings.state_dir, here, host, on_bytes)

    return to_all(hosts, revision, settings.ship.hosts_at_once, bring)


def require_room(settings: Settings, host: Host) -> None:
    """Refuse a host where nothing may be written, before minutes of shipping; one that does not answer is told of then."""
    try:
        host.run(command("true"))
    except OpsError:
        return
    require_folder(settings.state_dir, host)


def to_all(hosts: Sequence[Host], revision: str, at_once: int, bring: Callable[[Host, Callable[[int], None]], Shipped]) -> Outcome:
    """Do it for every host, whatever becomes of the others; Ctrl-C ends all of them."""
    with console.step(f"images to {', '.join(host.name for host in hosts)}") as shown:

        def on_bytes(host: Host, sent: int) -> None:
            shown.latest = f"{host.name}: {sent / build.MEGABYTE:.1f} MB"

        def one(host: Host) -> Shipped | OpsError:
            try:
                return bring(host, partial(on_bytes, host))
            except OpsError as error:
                return error
            except OSError as error:
                return OpsError(str(error), where=host.name, serves=ship.UNTOUCHED, then="inv push")

        found = fleet.each(hosts, one, among=hosts, at_once=at_once)
    shipped = tuple(one for one in found.values() if isinstance(one, Shipped))
    return Outcome(revision, shipped, {name: one for name, one in found.items() if isinstance(one, OpsError)})
