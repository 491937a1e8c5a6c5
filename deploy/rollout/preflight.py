"""What must be true before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from ipaddress import ip_address

from deploy.config import checkout, compose, secrets
from deploy.config.checkout import Checkout
from deploy.config.compose import Model
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, Reasons, Refused, refuse
from deploy.core.model import COLOURS, SHARED, Facts, Record, Release, Schema, other
from deploy.core.shell import Secret, command
from deploy.edge import nginx, switch
from deploy.hosts.host import Host
from deploy.images import build as images
from deploy.release import placement, render, wanted
from deploy.state.store import State, state_of

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
    anew: tuple[str, ...]
    left_out: tuple[str, ...]


def look(at: Environment, facts: Mapping[str, Facts], include: str = "") -> Ready:
    """Check hosts, secrets, checkout, compose files, template and `--include`; raise Refused with every reason at once."""
    settings, reasons, order = at.settings, Reasons(), None
    with reasons:
        at.each(lambda host: check(settings, host, facts[host.name]))
    with reasons:
        values = secrets.read(settings.secrets_file, settings.root / secrets.EXAMPLE, named=bool(settings.secrets))
    with reasons:
        order = None if at.remote else images.prepare_order(*at.machine)
        source = order.source if order else checkout.read(settings.root, at.here)
    with reasons:
        model = wanted.model(*at.machine)
        nameable(settings, model)
        anew = included(include, [service.name for service in model.of(*SHARED)])
        nginx.render(settings, model.web, nginx.Route(COLOURS[0], ""))
        placed = wanted.placed(at, model)
        if at.remote:
            moved(settings, model, placed, facts, left_behind(at, facts), without_edge(at, facts))
            reachable(at, model, {host: set(known.shared) - set(anew) for host, known in facts.items()})
    reasons.refuse()
    left_out = compose.left_out(model, settings.root, settings.secrets_file, values)
    for line in left_out:
        console.warn(line)
    return Ready(values, source, order, model, anew, left_out)


def left_behind(at: Environment, facts: Mapping[str, Facts]) -> list[str]:
    """Warn of hosts that the release in service has and the settings have no more, where all goes on unasked; return their names."""

    def had(host: Host) -> tuple[str, ...]:
        with suppress(OpsError):  # its bundle is lost, or of another version of this
            return state_of(at, host).release(str(facts[host.name].edge.release)).hosts
        return ()

    gone = sorted({name for names in at.each(had).values() for name in names} - {host.name for host in at.hosts})
    if gone:
        told = f"{', '.join(gone)}: in [hosts] no more, and what runs there goes on, workers and the scheduler too"
        console.warn(f'{told}; unless it is dead: put it back with roles = ["monitoring"], deploy, and take it out then')
    return gone


def without_edge(at: Environment, facts: Mapping[str, Facts]) -> list[str]:
    """Name the hosts whose last release has no edge on them."""

    def has(host: Host) -> bool:
        with suppress(OpsError):  # its bundle is lost, or of another version of this
            last = facts[host.name].accepted or next(iter(state_of(at, host).served()), "")  # as far as the ledger can be read
            return bool(state_of(at, host).release(last).of("edge"))
        return True

    return [name for name, found in at.each(has).items() if not found]


def moved(
    settings: Settings, known: Model, placed: Mapping[str, Model], facts: Mapping[str, Facts], gone: Sequence[str] = (),
    edgeless: Sequence[str] = (),
) -> None:  # fmt: skip
    """Refuse data that would begin empty while another host has it, or may and is `gone`, and an edge that comes or goes while apps run.

    Hosts that are `edgeless` have no edge in the release in service.
    """
    mistakes = []
    for service in known.of("data"):
        names = {render.resources(known.volumes, settings.name)[name]["name"] for name in placement.volumes(service)}
        kept = {host for host, seen in facts.items() if names & seen.resources or any(c.service == service.name for c in seen.containers)}
        owner = next(host for host, own in placed.items() if service.name in {one.name for one in own.services})
        if kept and owner not in kept:
            has = ", ".join(sorted(kept))
            mistakes.append(f"{service.name} would begin empty on {owner}, and {has} has its data: leave it there, or bring it first")
        running = [host for host, seen in facts.items() if service.name in seen.shared_alive]
        if running and owner not in running:
            mistakes.append(f"{service.name} still runs on {', '.join(running)}, and {owner} is to have it: stop it there first")
        elif names and gone and not kept and any(seen.accepted or seen.unrecorded for seen in facts.values()):
            make = f"docker volume create {' '.join(sorted(names))}"
            mistakes.append(
                f"{service.name} would begin empty on {owner}, and {', '.join(gone)}, in [hosts] no more, may have its data: "
                f"put it back, or bring the data; to begin empty: `{make}` on {owner}"
            )
    for host, seen in facts.items():
        if not placed[host].of("edge") and any(c.role == "edge" for c in seen.shared_alive.values()):
            mistakes.append(f"{host} has no role edge, and its edge answers: give it the role, or stop {settings.name}-edge-1 there first")
        if placed[host].of("edge") and host in edgeless and any(c.colour and c.alive for c in seen.containers):
            mistakes.append(f'{host} gets the role edge while it works without: deploy with roles = ["monitoring"] first, which empties it')
    refuse("roles have moved away from what is there:", mistakes, where="[hosts]", then="mend that, then inv plan")


def roles_stay(releases: Mapping[str, Release], facts: Mapping[str, Facts]) -> None:
    """Refuse an earlier release that would find old data or none, since that is on another host now, or leave an edge with no app."""
    moved = [
        f"{service.name} runs on {there}, and release {release.id} has it on {host}"
        for host, release in releases.items() for service in release.of("data")
        for there, seen in facts.items() if service.name in seen.shared_alive and service.name not in facts[host].shared_alive
    ]  # fmt: skip
    moved += [
        f"{host} has an edge, and in release {release.id} it has none: visitors would get errors there"
        for host, release in releases.items()
        if not release.of("edge") and facts[host].edge.release and any(c.role == "edge" for c in facts[host].shared_alive.values())
    ]
    refuse("roles have moved since:", moved, where="[hosts]", then="go forward with inv deploy; or bring back there first what has moved")


def reachable(at: Environment, known: Model, running: Mapping[str, Set[str]]) -> None:
    """Refuse data or apps elsewhere that those who need them cannot reach, or that anybody can: Docker's ports pass by a firewall.

    `running` are the shared services of each host that stay as they are.
    """
    mistakes, servers, alike = [], at.settings.hosts, set[str]()
    for name, owner, port, askers in placement.paths(known, servers):
        private, public = servers[owner].private, servers[owner].address
        seen = at.each(partial(answer, address=private, port=port), [host for host in at.hosts if host.name in askers])
        blind = [host for host, said in seen.items() if said not in ("", REFUSED)]
        mistakes += [f"{', '.join(blind)} cannot reach {private}:{port}, where {name} is on {owner}"] if blind else []
        if REFUSED in seen.values() and name in running[owner]:
            mistakes.append(
                f"{name} on {owner} is not open at {private}:{port}; if it ran before others needed it: inv deploy --include={name}"
            )
        if public == private and not ip_address(private).is_global:
            alike.add(owner)
        elif not at.here.port_is_free(public, port):
            mistakes.append(f"{name} on {owner} is open to the outside, at {public}:{port}; close that port in front of the host")
    if alike:
        told = f"{', '.join(sorted(alike))}: address and private are the same, so whoever reaches it reaches its data and app ports too"
        console.warn(f"{told}; nothing proves here that they are closed to others")
    refuse("the private network is not as it must be:", mistakes, where="[hosts]", then="mend that, then inv deploy")


def answer(host: Host, address: str, port: int) -> str:
    """Return what a host is told by an address: nothing when it is let in, REFUSED where nothing listens, or that it is not reached."""
    done = host.try_run(command("timeout", "3", "env", "LC_ALL=C", "bash", "-c", 'exec 3<>"/dev/tcp/$0/$1"', address, port))
    return "" if not done.returncode else REFUSED if REFUSED in done.stderr else done.stderr.strip() or "no answer"


def included(include: str, shared: Iterable[str]) -> tuple[str, ...]:
    """Read the names that `--include` has, with commas between; refuse one that is none of the shared services."""
    names, known = tuple(name.strip() for name in include.split(",") if name.strip()), tuple(shared)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Refused(f"{', '.join(unknown)} is no shared service", where="--include", then=f"some of: {', '.join(known)}")
    return names


def check(settings: Settings, host: Host, facts: Facts) -> None:
    """Refuse, all reasons at once, on a host that cannot take a deploy."""
    clock(host, State(host, settings.state_dir).ledger())
    reasons = [
        *skew(host), *disk(settings, host), *memory(settings, host, facts), *ports(settings, host, facts),
        *another_state(settings, host, facts),
    ]  # fmt: skip
    refuse("this host is not ready:", reasons, where=host.name, then="mend that, then inv deploy")


def disk(settings: Settings, host: Host) -> list[str]:
    """Name the places, the state's and the engine's, where too little is free for a release."""
    least = settings.rollout.free_disk_gb
    free = {place: host.free_bytes(place) / GIGABYTE for place in (settings.state_dir, host.engine.folder())}
    mend = "docker system df shows what uses it; rollout.free_disk_gb says how much is wanted"
    return [f"{place}: {found:.1f} GB free, {least:.1f} GB are wanted; {mend}" for place, found in free.items() if found < least]


def memory(settings: Settings, host: Host, facts: Facts) -> list[str]:
    """Say when the new colour would not fit beside the live one: it will want what the live one holds now."""
    live = facts.edge.colour or ""
    held = {c.colour: 0 for c in facts.containers}
    for c in facts.containers:
        held[c.colour] += host.engine.memory(c.name) if c.colour and c.state == "running" else 0
    wanted = (held.get(live, 0) - held.get(other(live), 0)) / GIGABYTE  # what is left of the idle colour is stopped first
    what = "a second colour"
    if settings.rollout.strategy == "rolling":
        what, wanted = "one more replica of each service", wanted / max((c.number for c in facts.of(live)), default=1)
    least, free = settings.rollout.free_memory_gb, host.free_memory() / GIGABYTE
    told = f"{free:.1f} GB of memory is available; {what} takes {wanted:.1f} GB, and {least:.1f} GB must remain"
    return [f"{told} (rollout.free_memory_gb)"] if live and free < wanted + least else []


def nameable(settings: Settings, model: Model) -> None:
    """Refuse replicas whose container's name no DNS can know: the edge finds them by it."""
    names = [nginx.replica(settings, service.name, COLOURS[1], service.replicas) for service in model.web]
    long = [name for name in names if len(name) > LONGEST_NAME]
    if long:
        raise Refused(
            f"a container's name would have more than {LONGEST_NAME} characters, which no DNS knows: {', '.join(long)}",
            where="app and services", then="give app or service a shorter name",
        )  # fmt: skip


def skew(host: Host) -> list[str]:
    """Say when the host's clock and this machine's are far apart: logs, certificates and schedules go by it."""
    apart = (datetime.fromisoformat(host.now()) - datetime.now(UTC)).total_seconds()
    if abs(apart) <= SKEW_SECONDS:
        return []
    where = "ahead of" if apart > 0 else "behind"
    return [f"the clock is {abs(apart):.0f} s {where} this machine's; timedatectl set-ntp true, there or here"]


def clock(host: Host, entries: Sequence[Record]) -> None:
    """Warn when the clock is behind the ledger's last line: history and --since go by it; a release does not."""
    said = host.now()
    if entries and entries[-1].started > said:
        console.warn(f"this host's clock says {said}, the last deploy was written down at {entries[-1].started}; mend the clock")


def ports(settings: Settings, host: Host, facts: Facts) -> list[str]:
    """Name the edge's ports that something else has taken."""
    if facts.edge.running or not facts.edge.expected:
        return []
    wanted = {"port": (settings.edge.address, settings.edge.port), "probe_port": ("127.0.0.1", settings.edge.probe_port)}
    taken = [(key, port) for key, (address, port) in wanted.items() if not host.port_is_free(address, port)]
    return [f"port {port} is taken by another program; stop it, or set edge.{key} (OPS_EDGE__{key.upper()}=…)" for key, port in taken]


def another_state(settings: Settings, host: Host, facts: Facts) -> list[str]:
    """Say why the running edge would not hear of a new release: its folder is another account's, or is gone under it."""
    edge = next((c.name for c in facts.containers if c.role == "edge" and c.state == "running"), None)
    theirs, ours = host.engine.mounted(edge, switch.MOUNTED) if edge else None, nginx.folder(settings)
    if theirs not in (None, str(ours)):
        return [f"{edge} is configured from {theirs}, not from {ours}; deploy as its owner, or set `state`"]
    if edge and not host.pointed(ours / switch.CURRENT):
        told = f"{ours} was removed while {edge} ran, which serves on from what it has read"
        return [f"{told}; `{host.typed(f'docker rm --force {edge}')}`, then inv deploy: an outage until that release is healthy"]
    return []


def schema_fits(target: Release, revision: str | None, schema: Schema | None, serving: str) -> None:
    """Refuse to go back to code that cannot work on the schema, or of which that is not known.

    On a host that does not migrate itself only what is known counts: the one that did may be no more.
    """
    if not target.migrating and not (schema and revision):
        return
    if schema is None or revision is None:
        raise Refused(
            f"it is not known whether release {target.id} fits the database's schema",
            serves=serving,
            then="go forward with inv deploy; only Alembic's history can be judged",
        )
    if revision not in schema.serves:
        raise Refused(
            f"release {target.id} is of schema {revision}; the database is at {schema.revision}, on which only "
            f"{', '.join(schema.serves)} can work", where="the database", serves=serving,
            then="go forward: mend the code and inv deploy",
        )  # fmt: skip
