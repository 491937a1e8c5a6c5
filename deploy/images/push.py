"""Bring a revision's images to every host, and report what that took."""

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
from deploy.images import build, inventory, registry, ship
from deploy.images.ship import Shipped
from deploy.state.store import require_folder


@dataclass(frozen=True)
class PushResult:
    """What a push did: what hosts got, and why others did not."""

    revision: str
    shipped: tuple[Shipped, ...]
    failed: dict[str, OpsError]


def push(
    settings: Settings, here: LocalHost, hosts: Sequence[Host], requested: Mapping[str, Collection[str]]
) -> PushResult:
    """Bring to every host the images `requested` for it, a few hosts at once."""
    by = settings.ship.by
    far = [host.name for host in hosts if not isinstance(host, LocalHost)]
    if by == "local" and far:
        what, then = (
            f"ship.by is local, but these are other machines: {', '.join(far)}",
            "set ship.by to ssh or registry",
        )
        raise Refused(what, where=f"deploy/environments/{settings.env}.toml", then=then, slug="ship-by-local")
    revision = checkout.read(settings.root, here).revision
    own = [target.image for target in build.read_targets(settings, here)]
    who = registry.account(settings) if by == "registry" else None
    with console.step("images of this revision"):
        transfers = inventory.find_transfers(
            {name for names in requested.values() for name in names}, own, revision, here
        )
        inventory.require_architecture(transfers, here, hosts, settings.ssh.parallel)
        fleet.each(hosts, partial(require_room, settings), among=hosts, at_once=settings.ssh.parallel)
    if who:
        with console.step(f"push to {who.address}"):
            transfers = registry.publish(transfers, who, here)

    def bring(host: Host, on_bytes: Callable[[int], None]) -> Shipped:
        own = [transfer for transfer in transfers if transfer.name in requested[host.name]]
        if who:
            return registry.fetch(own, revision, settings.state_dir, who, host)
        return ship.ship(own, revision, settings.state_dir, here, host, on_bytes)

    return to_all(hosts, revision, settings.ship.hosts_at_once, bring)


def require_room(settings: Settings, host: Host) -> None:
    """Refuse a host where nothing may be written, before minutes of shipping; one that does not answer fails later."""
    try:
        host.run(command("true"))
    except OpsError:
        return
    require_folder(settings.state_dir, host)


def to_all(
    hosts: Sequence[Host], revision: str, at_once: int, bring: Callable[[Host, Callable[[int], None]], Shipped]
) -> PushResult:
    """Bring images to every host, also when others fail; Ctrl-C ends all of them."""
    with console.step(f"images to {', '.join(host.name for host in hosts)}") as shown:

        def on_bytes(host: Host, sent: int) -> None:
            shown.latest = f"{host.name}: {sent / build.MEGABYTE:.1f} MB"

        def one(host: Host) -> Shipped | OpsError:
            try:
                return bring(host, partial(on_bytes, host))
            except OpsError as error:
                return error
            except OSError as error:
                return OpsError(str(error), where=host.name, serves=ship.UNTOUCHED, then="inv push", slug="push-failed")

        results = fleet.each(hosts, one, among=hosts, at_once=at_once)
    shipped = tuple(one for one in results.values() if isinstance(one, Shipped))
    return PushResult(revision, shipped, {name: one for name, one in results.items() if isinstance(one, OpsError)})
