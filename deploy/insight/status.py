"""Show which release serves, and how its services are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from deploy.backups import isolated, wal
from deploy.backups.points import EVIDENCE, EvidenceFile
from deploy.backups.show import Standing, standing
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, Refused, acting
from deploy.core.facts import Container, EdgeFacts, Facts
from deploy.core.model import SHARED
from deploy.core.shell import docker
from deploy.hosts import fleet
from deploy.hosts.host import Host
from deploy.insight import compare
from deploy.insight.compare import Comparison, View
from deploy.rollout.lineage import verdict_by_ledger
from deploy.rollout.reversible import require_abortable
from deploy.site.facts import ask_edge, observe, summary
from deploy.site.interrupted import Interruption, interruptions
from deploy.state import locks
from deploy.state.journal import JOURNAL, RELEASE
from deploy.state.store import LEDGER, SCALE, SCHEMA, state_of

# what is read of the state folder
RECORDS = (
    LEDGER, JOURNAL, SCHEMA, SCALE, EVIDENCE, *(lock.file for lock in locks.LOCKS.values()),
    "edge/current", "edge/proven", "edge/generations/*/route.json", "releases/*/release.json", "releases/*/shared.yml",
)  # fmt: skip


@dataclass(frozen=True)
class HostStatus:
    """What `inv status` shows of one host.

    `watch` is by what its release was judged, `holders` are those of its locks. `backup` is None where the release has
    no backup service.
    """

    view: View
    watch: str
    holders: tuple[locks.Holder, ...]
    backup: Standing | None

    @property
    def edge(self) -> EdgeFacts:
        """What its edge serves."""
        return self.view.facts.edge


def show(at: Environment, *, json: bool) -> None:
    """Show an environment's state on all its hosts, compared with the release that serves; end with one next command.

    Raises GateClosed where visitors get errors, else unreachable hosts' errors, once the others are shown.
    """
    with ExitStack() as stack:
        for host in at.hosts:
            stack.enter_context(host.remembering())
        look(at, json=json)


def look(at: Environment, *, json: bool) -> None:
    """Show it as `show` does, each question asked once."""
    observed, unreachable = observe_reachable(at)
    statuses, interrupted = ask_hosts(at, observed)
    locked_by = [holder for status in statuses.values() for holder in status.holders]
    changing = any(holder.lock == "change" for holder in locked_by)
    if changing:  # what has begun goes on
        interrupted = []
    compared = compare.compare(
        {name: status.view for name, status in statuses.items()},
        changing=changing,
        interrupted=bool(interrupted),
        abortable=abortable(at, interrupted, observed),
    )
    if json:
        state = document(at.settings, statuses, unreachable)
        backup = next((status.backup.document for status in statuses.values() if status.backup), None)
        console.document(
            {**state, **comparison_document(compared), "interrupted": newest_document(interrupted), "backup": backup}
        )
    else:
        print_state(at, statuses, unreachable)
        print_operations(at, statuses, locked_by, interrupted)
        print_findings(at, compared)
    serving = summary(at, {name: status.view.facts.serving for name, status in statuses.items()})
    compared.require_served(at.settings.env, serving, documented=json)
    if compared.then and not json and not unreachable:
        console.say(acting(f"next: {compared.then}", at.settings.env))
    fleet.raise_unreachable(unreachable, documented=json)


def abortable(at: Environment, interrupted: Iterable[Interruption], observed: Mapping[str, Facts]) -> bool:
    """Tell whether `inv abort` would begin to undo what was interrupted; what would be refused is not advised."""
    release = next((one for one in interrupted if one.newest.kind == RELEASE), None)
    try:
        if release and len(observed) == len(at.hosts):
            require_abortable(at, release.on, observed)
    except Refused:
        return False
    return True


def ask_hosts(at: Environment, observed: Mapping[str, Facts]) -> tuple[dict[str, HostStatus], list[Interruption]]:
    """Ask each host that was observed for its release, watch, locks and backups; and all for what was interrupted."""
    hosts = [host for host in at.hosts if host.name in observed]
    interrupted: list[Interruption] = []

    def ask(host: Host) -> HostStatus:
        facts = observed[host.name]
        questions: list[Callable[[], Any]] = [
            lambda: compare.view_of(at, host, facts),
            lambda: verdict_by_ledger(state_of(at, host), facts.edge.release),
            lambda: locks.holders(host, at.settings.state_dir),
            lambda: backup_of(at, host, facts),
        ]
        if host is hosts[0]:  # over a slow line all questions are asked at once
            questions.append(lambda: interrupted.extend(interruptions(at, hosts).values()))
        view, watch, holders, backup, *_ = host.concurrently(*questions)
        return HostStatus(view, watch, holders, backup)

    return at.each(ask, hosts), interrupted


def print_operations(
    at: Environment, statuses: Mapping[str, HostStatus], locked_by: Iterable[locks.Holder],
    interrupted: Iterable[Interruption],
) -> None:  # fmt: skip
    """Say how the backups are, who holds a lock, and what was interrupted."""
    for status in statuses.values():
        if status.backup:
            console.say(acting(status.backup.words, at.settings.env))
    for words in sorted({holder.words for holder in locked_by}):
        console.say(words)
    for one in interrupted:
        console.warn(str(one))


def print_findings(at: Environment, compared: Comparison) -> None:
    """Warn of what differs and hurts no visitor; what does is the error that comes last."""
    several = len(at.hosts) > 1
    for host, finding in compared.listed:
        if not finding.hurts:
            console.warn(acting(f"{f'{host}: ' if several else ''}{finding.what}", at.settings.env))


def comparison_document(compared: Comparison) -> dict[str, object]:
    """Return what differs, for programs."""
    findings = [
        {"host": host, "what": finding.what, "next": finding.then, "hurts": finding.hurts}
        for host, finding in compared.listed
    ]
    return {"visitors": compared.visitors, "findings": findings, "next": compared.then or None}


def newest_document(interrupted: Sequence[Interruption]) -> dict[str, object] | None:
    """Return the command that was interrupted last, for programs; None where none was."""
    if not interrupted:
        return None
    newest = interrupted[0].newest
    return {"command": newest.command, "release": newest.target, "since": newest.since}


def backup_of(at: Environment, host: Host, facts: Facts) -> Standing | None:
    """Return when a host took and restored a recovery point last; None where its release has no backup service."""
    with suppress(OpsError):
        state, release = state_of(at, host), facts.edge.release or ""
        for service in state.release(release).of("backup") if release else ():
            given = isolated.environment(state.text(release, "shared.yml"), service.name)
            places = filter(None, map(given.get, ("RESTIC_REPOSITORY", "BACKUP_OFFSITE")))
            backup = standing(EvidenceFile(host, at.settings.state_dir).lines(), *places)
            return replace(backup, wal=receiving(host, facts) if state.release(release).of("wal") else None)
    return None


def receiving(host: Host, facts: Facts) -> wal.Receiving:
    """Return what a host has received of the WAL; nothing where its receiver cannot be asked."""
    for container in facts.containers:
        if container.role == "wal" and container.state == "running":
            printed = host.try_run(docker("exec", container.name, "held").as_query())
            return wal.Receiving(wal.read(printed.stdout), wal.shipped(printed.stdout), container.up)
    return wal.Receiving((), None, healthy=False)


def observe_reachable(at: Environment) -> tuple[dict[str, Facts], dict[str, OpsError]]:
    """Return the facts of every reachable host, and the others' errors.

    Hosts behind another's dead edge are in both: their containers are observed.
    """
    observed, unreachable = at.gather(lambda host: observe_at_once(at, host))
    for host in (host for host in at.hosts if host.name in unreachable and not host.front):
        with suppress(OpsError, OSError):  # with the engine away the edge itself may answer
            edge = ask_edge(at.settings, host)
            unreachable[host.name].serves = f"{Facts(edge=edge).serving}: its edge answers" if edge else ""
    fronts = {host.name: host.front.name for host in at.hosts if host.front and host.name in unreachable}
    behind = [host for host in at.hosts if host.name in fronts]
    running, _ = at.gather(lambda host: host.engine.containers(at.settings.name), behind)
    edges = {name: EdgeFacts(expected=False, front=fronts[name]) for name in running}
    observed |= {name: Facts(containers, edges[name]) for name, containers in running.items()}
    return {host.name: observed[host.name] for host in at.hosts if host.name in observed}, unreachable


def observe_at_once(at: Environment, host: Host) -> Facts:
    """Observe a host; far away, what will be asked is asked before, at once, so that the answers are there."""
    questions: list[Callable[[], object]] = [
        lambda: host.engine.containers(at.settings.name), host.engine.resources,
        lambda: host.fetch(at.settings.state_dir, RECORDS),
    ]  # fmt: skip
    if not host.front:
        questions += [lambda: ask_edge(at.settings, host), lambda: compare.public(at, host)]

    def tried(question: Callable[[], object]) -> None:
        with suppress(OpsError, OSError):  # it is met again where the answer is needed
            question()

    if at.remote:
        host.concurrently(*(partial(tried, question) for question in questions))
    return observe(at.settings, host)


def print_state(at: Environment, statuses: Mapping[str, HostStatus], unreachable: Mapping[str, OpsError]) -> None:
    """Say what serves, and how each service is."""
    several = len(at.hosts) > 1
    for name, status in statuses.items():
        place = f"{at.settings.name} on {name}" if several else at.settings.name
        watch = f", watch: {status.watch}" if status.watch else ""
        console.say(f"{place}: {serving_words(name, status, unreachable)}{watch}")
    views = {name: status.view for name, status in statuses.items()}
    rows = {name: [*map(row, view.facts.containers), *missing_rows(view)] for name, view in views.items()}
    console.table_of(["service", "colour", "state", "health", "release"], rows, several=several)
    for c in (c for view in views.values() for c in view.facts.containers if c.out_of_memory):
        text = f"{c.name}: a process was killed at the memory limit; inv logs {c.service}, or raise its mem_limit"
        console.warn(acting(text, at.settings.env))


def serving_words(name: str, status: HostStatus, unreachable: Mapping[str, OpsError]) -> str:
    """Say what one host serves; unknown where it, or the edge in front of it, does not answer."""
    if status.edge.front in unreachable:
        return f"unknown while {status.edge.front} does not answer"
    return "unknown" if name in unreachable else status.view.facts.serving


def row(c: Container) -> list[str]:
    """Show one container."""
    name = c.service + (f"-{c.number}" if c.number > 1 else "")
    return [name, c.colour or "shared", c.state, health(c) or "-", c.release or "-"]


def missing_rows(view: View) -> list[list[str]]:
    """Show the services that should run and have no container."""
    edge = view.facts.edge
    colours = {service.name: "shared" if service.role in SHARED else edge.colour for service in compare.missing(view)}
    return [[name, colour or "-", "missing", "-", edge.release or "-"] for name, colour in colours.items()]


def health(container: Container) -> str | None:
    """Return the result of its health check; None without one, or while it does not run (the engine says unhealthy)."""
    return container.health or None if container.state == "running" else None


def document(
    settings: Settings, statuses: Mapping[str, HostStatus], unreachable: Mapping[str, OpsError]
) -> dict[str, object]:
    """Return the state as the command contract has it; release and colour are null where hosts differ."""
    edges = [status.edge for name, status in statuses.items() if name not in unreachable]
    releases, colours = {edge.release for edge in edges}, {edge.colour for edge in edges}
    errors = {name: error.document for name, error in unreachable.items()}
    return {
        "env": settings.env,
        "release": releases.pop() if len(releases) == 1 else None,
        "colour": colours.pop() if len(colours) == 1 else None,
        "watch": max((status.watch for status in statuses.values()), default=""),  # as text the worst is the greatest
        "hosts": [host_document(name, status) for name, status in statuses.items()],
        **({"unreachable": errors} if errors else {}),
    }


def host_document(name: str, status: HostStatus) -> dict[str, object]:
    """Return one host for programs."""
    view, edge = status.view, status.edge
    return {
        "name": name,
        "release": edge.release,
        "watch": status.watch,
        "services": [*map(service_document, view.facts.containers), *missing_documents(view)],
        "edge": {
            "running": edge.running,
            "generation": edge.generation,
            "maintenance": edge.maintenance,
            "answers": all(code == 200 for code in view.answers.values()) if view.answers else None,
            "public": view.public,
        },
    }


def service_document(c: Container) -> dict[str, object]:
    """Return one container for programs."""
    return {
        "name": c.service,
        "colour": c.colour or None,
        "state": c.state,
        "health": health(c),
        "image": c.image,
        "out_of_memory": c.out_of_memory,
    }


def missing_documents(view: View) -> list[dict[str, object]]:
    """Return the services that should run and have no container, for programs."""
    return [
        {
            "name": service.name,
            "colour": None if service.role in SHARED else view.facts.edge.colour,
            "state": "missing",
            "health": None,
            "image": service.image,
            "out_of_memory": False,
        }
        for service in compare.missing(view)
    ]
