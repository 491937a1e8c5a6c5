"""Gather what the eight gates judge, and show them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from deploy.backups.points import EVIDENCE, Evidence, EvidenceFile
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, acting
from deploy.hosts.host import Host
from deploy.incidents import arrival, certificates, gates
from deploy.incidents.arrival import Arrival
from deploy.incidents.gates import Gate
from deploy.incidents.metrics import why_lost
from deploy.insight import compare
from deploy.insight.compare import View
from deploy.insight.history import merge_ledgers
from deploy.insight.status import observe_reachable
from deploy.monitoring import check
from deploy.site.checks import Check, require_open
from deploy.site.run import standing_on
from deploy.state.folder import parse_time
from deploy.state.scans import Scan, Scans
from deploy.state.store import state_of


def show(at: Environment, *, json: bool) -> None:
    """Show the eight gates; raise GateClosed, exit 3, unless all of them are PASS."""
    now, env = datetime.now(UTC), at.settings.env
    judged = [replace(one, then=acting(one.then, env)) for one in judge(at, now)]
    if json:
        console.document({"env": env, "gates": [one.document(now) for one in judged]})
    else:
        rows = [[one.result, one.name, one.evidence, one.age(now), one.then] for one in judged]
        console.table(["", "gate", "evidence", "age", "next"], rows)
    require_open([one.check for one in judged], documented=json)


def judge(at: Environment, now: datetime) -> list[Gate]:
    """Look at an environment and judge every gate."""
    observed, unreachable = observe_reachable(at)
    hosts = [host for host in at.hosts if host.name in observed]
    views = at.each(lambda host: compare.view_of(at, host, observed[host.name]), hosts)
    compared = compare.compare(views)
    return [
        gates.services(views, unreachable),
        gates.health(views, compared, unreachable),
        gates.vulnerabilities(scans(at, hosts, views), now, at.settings.scan.pass_days, unreachable),
        certificates.valid(*served_names(at.settings), now, connect=at.hosts[0].connect),
        gates.dashboards(panels_shown(at, hosts, views), unreachable),
        gates.logs(arrived(at, hosts, views), unreachable),
        restored(at, hosts, views, unreachable, now),
        rehearsed(at, hosts, now),
    ]


def served_names(settings: Settings) -> tuple[Sequence[str], Sequence[str], int]:
    """Return the names that the edges have certificates for, their addresses, and the port; no names: TLS is off."""
    edges = [server.address for server in settings.hosts.values() if "edge" in server.roles]
    return settings.tls_names if settings.tls.by else (), edges or [settings.edge.address], settings.edge.tls_port


def panels_shown(at: Environment, hosts: Sequence[Host], views: Mapping[str, View]) -> dict[str, Check]:
    """Ask every host's Prometheus for the panels of its dashboards; nothing where nothing is deployed."""
    serving = next((view.facts.edge.release for view in views.values() if view.facts.edge.release), None)
    return at.each(lambda host: shown_on(at, host, serving, views[host.name]), hosts) if serving else {}


def shown_on(at: Environment, host: Host, release: str, view: View) -> Check:
    """Ask one host's Prometheus for the panels of its dashboards; UNKNOWN where nothing says what runs there."""
    try:
        return check.panels_of(standing_on(at, host, release, view.facts), "dashboards show data")
    except OpsError as error:
        return Check("dashboards show data", "UNKNOWN", error.what.partition("\n")[0], error.then)


def arrived(at: Environment, hosts: Sequence[Host], views: Mapping[str, View]) -> list[Arrival]:
    """Have every container that runs write a line, and read it back."""
    found = at.each(lambda host: arrival.tried(host, views[host.name].facts.containers), hosts)
    return [one for own in found.values() for one in own]


def scans(at: Environment, hosts: Sequence[Host], views: Mapping[str, View]) -> dict[str, Scan | None]:
    """Return the recorded scan of every image that serves, by name; None for one that was not scanned."""
    found = at.each(lambda host: list(scans_on(at, host, views[host.name])), hosts)
    return worst(pair for own in found.values() for pair in own)


def worst(every: Iterable[tuple[str, Scan | None]]) -> dict[str, Scan | None]:
    """Keep of several hosts' scans of an image the worst, and of those the oldest; none is worse than a PASS. Pure."""

    def badness(pair: tuple[str, Scan | None]) -> tuple[int, float]:
        scan = pair[1]
        results = ("PASS", "UNKNOWN", None, "FAIL")
        return results.index(scan.result if scan else None), -parse_time(scan.since).timestamp() if scan else 0.0

    return dict(sorted(every, key=badness))


def scans_on(at: Environment, host: Host, view: View) -> Iterator[tuple[str, Scan | None]]:
    """Yield the scan of each image that a host's release is made of."""
    kept = Scans(host, at.settings.state_dir)
    for name, digest in (view.release.images if view.release else {}).items():
        config = view.release.config_digests.get(name, "") if view.release else ""
        yield name, kept.of(digest, config)


def restored(
    at: Environment, hosts: Sequence[Host], views: Mapping[str, View], unreachable: Collection[str], now: datetime
) -> Gate:  # fmt: skip
    """Judge what the hosts with a backup service remember of restores; one that is not reached may have one."""
    without_data = {name for name, server in at.settings.hosts.items() if "data" not in server.roles}
    silent = sorted({*unreachable} - {*views} - without_data)
    saving = [host for host in hosts if (release := views[host.name].release) and release.of("backup")]
    if not any(view.release for view in views.values()):
        return Gate("backup restored", "UNKNOWN", "no record says what is saved", then="inv status")
    found = at.each(lambda host: evidence(at, host), saving)
    lines = [line for own, _ in found.values() for line in own]
    lost = [f"{name} is not reached" for name in silent] + [words for _, words in found.values() if words]
    return gates.restored(lines, lost="; ".join(lost), expected=bool(saving or silent), now=now)


def evidence(at: Environment, host: Host) -> tuple[tuple[Evidence, ...], str]:
    """Return what a host remembers of its recovery points, and what of that cannot be read."""
    try:
        written = (host.read(at.settings.state_dir / EVIDENCE) or "").splitlines()
        lines = EvidenceFile(host, at.settings.state_dir).lines()
    except (OpsError, OSError):
        return (), f"{EVIDENCE} of {host.name} cannot be read"
    damaged = sum(bool(line.strip()) for line in written) - len(lines)
    return lines, f"{damaged} line(s) of {EVIDENCE} of {host.name} cannot be read" if damaged else ""


def rehearsed(at: Environment, hosts: Sequence[Host], now: datetime) -> Gate:
    """Judge by the hosts' ledgers when a rollback was done last."""
    ledgers = at.each(lambda host: state_of(at, host).read_ledger(), hosts)
    lost = why_lost(ledgers, now - timedelta(days=gates.REHEARSED_DAYS))
    entries = [entry for entry, _ in merge_ledgers({name: own.entries for name, own in ledgers.items()})][::-1]
    return gates.rehearsed(entries, lost=lost, now=now)
