"""What must be true before a deploy changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address
from typing import Any

from deploy.config import checkout, compose, secrets
from deploy.config.checkout import Checkout
from deploy.config.compose import Model
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import Reasons, Refused, refuse
from deploy.core.facts import Facts
from deploy.core.model import COLOURS, SHARED, Record, other
from deploy.core.shell import Secret, command
from deploy.edge import certificates, frame, nginx, switch
from deploy.edge.folder import EdgeFolder, edge_path
from deploy.hosts.host import Host
from deploy.images import build as images
from deploy.release import desired, placement
from deploy.rollout.roles import require_roles_fit
from deploy.rollout.turns import pace_of
from deploy.rollout.unmanaged import ADVICE, unmanaged_migrations
from deploy.site.run import Run
from deploy.state.store import State

GIGABYTE = 1_000_000_000
SKEW_SECONDS = 60
REFUSED = "refused"
# of one label, RFC 1035, 2.3.4
LONGEST_NAME = 63


@dataclass(frozen=True)
class Ready:
    """What a deploy works from, checked before anything is changed; `order` where the images are built on the way."""

    secrets: Mapping[str, Secret]
    source: Checkout
    order: images.Order | None
    model: Model
    recreate: tuple[str, ...]
    left_out: tuple[str, ...]


def require_deployable(at: Environment, facts: Mapping[str, Facts], include: str = "") -> Ready:
    """Check hosts, secrets, checkout, compose files and `--include`; raise Refused with every reason at once."""
    settings, reasons, order = at.settings, Reasons(), None
    with reasons:
        at.each(lambda host: require_host_ready(settings, host, facts[host.name], include))
    with reasons:
        values = secrets.read(settings)
    with reasons:
        order = None if at.remote else images.prepare_order(*at.machine)
        source = order.source if order else checkout.read(settings.root, at.here)
    with reasons:
        model = desired.model(*at.machine)
        compose.require_set(model)
        compose.require_chosen(model)
        require_names_fit(settings, model)
        recreate = read_include(include, [service.name for service in model.of(*SHARED)])
        certificates.require_mounted(settings, model)
        nginx.render(settings, model.web, nginx.Route(COLOURS[0], ""))
        frame.render(settings)
        placed = desired.placed(at, model)
        if at.remote:
            require_roles_fit(at, model, placed, facts)
            require_reachable(at, model, {host: set(own.shared) - set(recreate) for host, own in facts.items()})
    reasons.refuse()
    left_out = compose.left_out(model, settings.root, settings.secrets_file, values, settings.secrets_name)
    for line in left_out:
        console.warn(line)
    if jobs := unmanaged_migrations(model.services):
        risk = "no gate, no backup before it, and a rollback across it only warns"
        console.warn(f"{jobs} may run migrations that inv does not manage: {risk}; {ADVICE}")
    return Ready(values, source, order, model, recreate, left_out)


def require_reachable(at: Environment, model: Model, running: Mapping[str, Set[str]]) -> None:
    """Refuse data or apps on other hosts that those who need them cannot reach, or that anybody can.

    Docker's ports pass a firewall. `running` are the shared services of each host that stay as they are.
    """
    mistakes, unproven = list[str](), set[str]()
    for service, owner, port, clients in placement.paths(model, at.settings.hosts):
        server = at.settings.hosts[owner]
        hosts = [host for host in at.hosts if host.name in clients]
        answers = at.each(partial(try_connection, address=server.private, port=port), hosts)
        unreached = ", ".join(host for host, answer in answers.items() if answer not in ("", REFUSED))
        if unreached:
            mistakes.append(f"{unreached} cannot reach {server.private}:{port}, where {service} is on {owner}")
        if REFUSED in answers.values() and service in running[owner]:
            then = f"if it ran before others needed it: inv deploy --include={service}"
            mistakes.append(f"{service} on {owner} is not open at {server.private}:{port}; {then}")
        if server.address == server.private and not ip_address(server.private).is_global:
            unproven.add(owner)
        elif not at.here.port_is_free(server.address, port):
            then = "close that port in front of the host"
            mistakes.append(f"{service} on {owner} is open to the outside, at {server.address}:{port}; {then}")
    if unproven:
        what = f"{', '.join(sorted(unproven))}: address and private are the same"
        why = "so whoever reaches it reaches its data and app ports too"
        console.warn(f"{what}, {why}; nothing proves here that they are closed to others")
    refuse(
        "the private network is not as it must be:",
        mistakes,
        where="[hosts]",
        then="fix that, then inv deploy",
        slug="network-not-private",
    )


def try_connection(host: Host, address: str, port: int) -> str:
    """Try a connection from a host; return empty where it is made, REFUSED where nothing listens, else the error."""
    script = 'exec 3<>"/dev/tcp/$0/$1"'
    done = host.try_run(command("timeout", "3", "env", "LC_ALL=C", "bash", "-c", script, address, port))
    if not done.returncode:
        return ""
    return REFUSED if REFUSED in done.stderr else done.stderr.strip() or "no answer"


def read_include(include: str, shared: Iterable[str]) -> tuple[str, ...]:
    """Read the services that `--include` names, with commas between; refuse one that is not a shared service."""
    names, shared = tuple(name.strip() for name in include.split(",") if name.strip()), tuple(shared)
    unknown = [name for name in names if name not in shared]
    if unknown:
        then = f"some of: {', '.join(shared)}"
        raise Refused(
            f"{', '.join(unknown)} is no shared service", where="--include", then=then, slug="service-unknown"
        )
    return names


def require_host_ready(settings: Settings, host: Host, facts: Facts, include: str = "") -> None:
    """Refuse a host that cannot take a deploy, with every reason at once."""
    state = State(host, settings.state_dir)
    questions: list[Callable[[], Any]] = [
        state.require_readable,
        EdgeFolder(settings, host).require_readable,
        lambda: warn_of_clock(host, state.ledger()),
        lambda: clock_skew(host),
        lambda: low_disk(settings, host),
        lambda: low_memory(settings, host, facts),
        lambda: taken_ports(settings, host, facts),
        lambda: folder_conflicts(settings, host, facts, include),
    ]
    reasons = [reason for reasons in host.concurrently(*questions) for reason in reasons or ()]
    then = "inv deploy --include=" + edge_service(facts) if facts.edge.forgotten else "fix that, then inv deploy"
    refuse("this host is not ready:", reasons, where=host.name, then=then, slug="host-not-ready")


def edge_service(facts: Facts) -> str:
    """Return what the compose files call the edge. Pure."""
    return next((c.service for c in facts.containers if c.role == "edge"), "edge")


def require_edge_usable(run: Run) -> None:
    """Refuse a host whose edge could not serve another release: a port is taken, or its folder is not ours or gone."""
    reasons = [*taken_ports(run.settings, run.host, run.facts), *folder_conflicts(run.settings, run.host, run.facts)]
    refuse("this host is not ready:", reasons, where=run.host.name, then="fix that", slug="host-not-ready")


def low_disk(settings: Settings, host: Host) -> list[str]:
    """Say which folders, the state's or the engine's, have too little room for a release."""
    least = settings.rollout.free_disk_gb
    free = {place: host.free_bytes(place) / GIGABYTE for place in (settings.state_dir, host.engine.folder())}
    then = "docker system df shows what uses it; rollout.free_disk_gb says how much is needed"
    low = {place: much for place, much in free.items() if much < least}
    return [f"{place}: {much:.1f} GB free, {least:.1f} GB are needed; {then}" for place, much in low.items()]


def low_memory(settings: Settings, host: Host, facts: Facts) -> list[str]:
    """Say when the new containers would not fit in memory next to the live ones, which hold as much as they will."""
    live, pace = facts.edge.colour or "", pace_of(settings.rollout.strategy)
    held = {c.colour: 0 for c in facts.containers}
    running = [c for c in facts.containers if c.colour and c.state == "running"]
    measured = host.concurrently(*(partial(host.engine.memory, c.name) for c in running))
    for c, much in zip(running, measured, strict=True):
        held[c.colour] += much
    # what is left of the idle colour is stopped first
    surge = (held.get(live, 0) - held.get(other(live), 0)) / GIGABYTE
    surge *= pace.share(max((c.number for c in facts.of(live)), default=1))
    least, free = settings.rollout.free_memory_gb, host.free_memory() / GIGABYTE
    needs = f"{pace.surge} takes {surge:.1f} GB, and {least:.1f} GB must remain (rollout.free_memory_gb)"
    return [f"{free:.1f} GB of memory is available; {needs}"] if live and free < surge + least else []


def require_names_fit(settings: Settings, model: Model) -> None:
    """Refuse container names that are too long for DNS, by which the edge finds them."""
    names = [nginx.replica(settings, service.name, COLOURS[1], service.replicas) for service in model.web]
    long = [name for name in names if len(name) > LONGEST_NAME]
    if long:
        what = f"a container's name would have more than {LONGEST_NAME} characters, which no DNS accepts"
        raise Refused(
            f"{what}: {', '.join(long)}",
            where="app and services",
            then="give app or service a shorter name",
            slug="name-too-long",
        )


def clock_skew(host: Host) -> list[str]:
    """Say when the host's clock and this machine's differ too much: logs, certificates and schedules go by it."""
    apart = (datetime.fromisoformat(host.now()) - datetime.now(UTC)).total_seconds()
    if abs(apart) <= SKEW_SECONDS:
        return []
    where = "ahead of" if apart > 0 else "behind"
    return [f"the clock is {abs(apart):.0f} s {where} this machine's; timedatectl set-ntp true, there or here"]


def warn_of_clock(host: Host, entries: Sequence[Record]) -> None:
    """Warn when the clock is behind the ledger's last line: inv history and --since go by it."""
    now = host.now()
    if entries and entries[-1].started > now:
        last = f"the last deploy was recorded at {entries[-1].started}"
        console.warn(f"this host's clock says {now}, {last}; fix the clock")


def taken_ports(settings: Settings, host: Host, facts: Facts) -> list[str]:
    """Say which of the edge's ports another program has."""
    if facts.edge.running or not facts.edge.expected:
        return []
    edge, own = settings.edge, settings.edge.address.strip("[]")  # Compose has brackets around one of version 6
    needed = {"port": (own, edge.port), "probe_port": ("127.0.0.1", edge.probe_port)}
    needed |= {"tls_port": (own, edge.tls_port)} if settings.tls.by else {}
    taken = {key: port for key, (address, port) in needed.items() if not host.port_is_free(address, port)}
    then = "stop it, or set edge.{0} (OPS_EDGE__{1}=…)"
    return [f"port {port} is taken by another program; {then.format(key, key.upper())}" for key, port in taken.items()]


def folder_conflicts(settings: Settings, host: Host, facts: Facts, include: str = "") -> list[str]:
    """Say why the running edge would not read a new release: its folder is another account's, or was removed.

    An edge that `include` names is recreated, and gets its folder again.
    """
    running = {c.name: c.service for c in facts.containers if c.role == "edge" and c.state == "running"}
    edge = next(iter(running), None)
    theirs, ours = host.engine.mounted(edge, switch.MOUNTED) if edge else None, edge_path(settings)
    if theirs not in (None, str(ours)):
        return [f"{edge} is configured from {theirs}, not from {ours}; deploy as its owner, or set `state`"]
    # an edge that serves nothing is started again, and reads the folder that the deploy writes
    gone = facts.edge.release and not host.readlink(ours / switch.CURRENT)
    if edge and running[edge] not in include.split(",") and gone:
        what = f"{ours} was removed while {edge} ran, which still serves what it has read"
        restored = f"where a backup has that folder, put it back, then `{host.command_line(f'docker restart {edge}')}`"
        again = f"inv deploy --include={running[edge]} writes it again and recreates the edge once all else is ready"
        return [f"{what}; {restored}; else {again}: an outage of seconds"]
    return []
