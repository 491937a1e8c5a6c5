"""`inv hosts.provision`: from a bare Debian to a server that takes a release."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import Interrupted, OpsError, Refused, acting
from deploy.hosts.host import Host
from deploy.provisioning import bare, inventory, playbook
from deploy.provisioning.bare import Bare
from deploy.provisioning.playbook import Event

AGAIN = "fix that, then inv hosts.provision: it goes on from what is there"
TAKEN_BACK = "wait a minute, in which a host takes unconfirmed firewall rules back; then inv hosts.provision"


@dataclass(frozen=True)
class Provisioned:
    """What was done on one server: the tasks that changed something, and what was left out and why."""

    name: str
    changed: list[str]
    notes: list[str]


def provision(at: Environment, names: Sequence[str] = (), *, login: str, yes: bool = False) -> list[Provisioned]:
    """Set servers up, all or those that are named; return what was changed on each.

    Raises Refused before anything is changed, OpsError naming host and task where one failed.
    """
    servers = observe(at, chosen(at, names), login)
    bare.require(at.settings, servers)
    if warn_of_losses(at.settings, servers) or at.settings.asks:
        console.confirm(f"{at.settings.env}: set up {', '.join(s.name for s in servers)}?", yes=yes)
    try:
        events = playbook.run(at.settings, servers, at.here)
    except KeyboardInterrupt:
        raise Interrupted("interrupted; what was done stays", then=acting(TAKEN_BACK, at.settings.env)) from None
    require_done(events)
    return [summary(server.name, events) for server in servers]


def warn_of_losses(settings: Settings, servers: Sequence[Bare]) -> bool:
    """Warn of what servers lose that had a life before; tell whether there is something."""
    lost = [
        line
        for server in servers
        for line in bare.losses(settings, server, inventory.public_ports(settings, settings.hosts[server.name]))
    ]
    for line in lost:
        console.warn(line)
    return bool(lost)


def chosen(at: Environment, names: Sequence[str]) -> list[Host]:
    """Return the hosts that are named, or all; refuse an environment without any, and a name that it lacks."""
    require_hosts(at)
    inventory.known_hosts(at.settings)
    strangers = sorted({*names} - {*at.settings.hosts})
    if strangers:
        what = f"no such host: {', '.join(strangers)} (there are: {', '.join(at.settings.hosts)})"
        raise Refused(what, where=f"{at.settings.env}.toml", then="inv hosts.provision", slug="host-unknown")
    return [host for host in at.hosts if not names or host.name in names]


def require_hosts(at: Environment) -> None:
    """Refuse an environment that is this machine alone."""
    if not at.remote:
        then = "--env=NAME of one that has; ./scripts/quickstart sets this machine up"
        what = f"{at.settings.env} has no hosts"
        raise Refused(what, where=f"{at.settings.env}.toml", then=then, slug="hosts-missing")


def observe(at: Environment, hosts: Sequence[Host], login: str) -> list[Bare]:
    """Ask every server what it is."""
    return [*at.each(lambda host: bare.observe(at.settings, host.name, login), hosts).values()]


def require_done(events: Sequence[Event]) -> None:
    """Raise OpsError that names every task that failed, and where. Pure."""
    failures = [event for event in events if event.outcome in ("failed", "unreachable")]
    if not failures:
        return
    lost = any(event.outcome == "unreachable" for event in failures)
    error = OpsError(
        "\n".join(f"{event.host}: {event.task}: {event.message}" for event in failures),
        where=", ".join(dict.fromkeys(event.host for event in failures)),
        then=TAKEN_BACK if lost else AGAIN,
        slug="host-unreachable" if lost else "provisioning-failed",
    )
    error.hosts = tuple(dict.fromkeys(event.host for event in failures))
    raise error


def summary(name: str, events: Sequence[Event]) -> Provisioned:
    """Sum up what was done on one server. Pure."""
    own = [event for event in events if event.host == name]
    changed = [event.task for event in own if event.outcome == "changed"]
    return Provisioned(name, changed, [event.message for event in own if event.outcome == "ok" and event.message])


def show(done: Sequence[Provisioned], env: str, *, json: bool) -> None:
    """Show what was done on each server."""
    if json:
        console.document({"env": env, "hosts": [asdict(one) for one in done]})
        return
    rows = [[one.name, f"{len(one.changed)} tasks" if one.changed else "nothing", "\n".join(one.notes)] for one in done]
    console.table(["host", "changed", "left out"], rows)
