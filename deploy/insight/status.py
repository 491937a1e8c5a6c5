"""Show which release serves, and how its services are."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
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
from deploy.rollout.lineage import watch_of
from deploy.rollout.reversible import require_abortable
from deploy.site.facts import answered, observe, summary
from deploy.site.interrupted import Interruption, interruptions
from deploy.state import locks
from deploy.state.journal import JOURNAL, RELEASE
from deploy.state.store import LEDGER, SCALE, SCHEMA, state_of

# what is read of the state folder
RECORDS = (
    LEDGER, JOURNAL, SCHEMA, SCALE, EVIDENCE, *(lock.file for lock in locks.LOCKS.values()),
    "edge/current", "edge/proven", "edge/generations/*/route.json", "releases/*/release.json", "releases/*/shared.yml",
)  # fmt: skip


def show(at: Environment, *, json: bool) -> None:
    """Show an environment's state on all its hosts, compared with the release that serves; end with one next command.

    Raises GateClosed where visitors get errors, else unreachable hosts' errors, once the others are shown.
    """
    with ExitStack() as stack:
        for host in at.hosts:
            stack.enter_context(host.looking())
        look(at, json=json)


def look(at: Environment, *, json: bool) -> None:
    """Show it as `show` does, each question asked once."""
    observed, unreachable = observe_reachable(at)
    hosts = [host for host in at.hosts if host.name in observed]
    views, watches, held, backups, cut_off = look_closer(at, hosts, observed)
    holders = [one for own in held.values() for one in own]
    changing = any(holder.lock == "change" for holder in holders)
    left = [] if changing else [*cut_off.values()]
    compared = compare.compare(
        views, changing=changing, interrupted=bool(left), abortable=abortable(at, left, observed)
    )
    if json:
        cut = left[0].newest if left else None
        interrupted = {"command": cut.command, "release": cut.target, "since": cut.since} if cut else None
        saved = next((own.document for own in backups.values() if own), None)
        state = document(at.settings, views, unreachable, watches)
        console.document({**state, **of_comparison(compared), "interrupted": interrupted, "backup": saved})
    else:
        print_state(at, views, unreachable, watches)
        for own in filter(None, backups.values()):
            console.say(acting(own.words, at.settings.env))
        for words in sorted({holder.words for holder in holders}):
            console.say(words)
        for one in left:
            console.warn(str(one))
        say_findings(at, compared)
    serving = summary(at, {name: view.facts.serving for name, view in views.items()})
    compared.require_served(at.settings.env, serving, documented=json)
    if compared.then and not json and not unreachable:
        console.say(acting(f"next: {compared.then}", at.settings.env))
    fleet.raise_unreachable(unreachable, documented=json)


def abortable(at: Environment, left: Iterable[Interruption], observed: Mapping[str, Facts]) -> bool:
    """Tell whether `inv abort` would begin to undo what was interrupted; what would be refused is not advised."""
    release = next((cut for cut in left if cut.newest.kind == RELEASE), None)
    try:
        if release and len(observed) == len(at.hosts):
            require_abortable(at, release.on, observed)
    except Refused:
        return False
    return True


def look_closer(
    at: Environment, hosts: Collection[Host], observed: Mapping[str, Facts]
) -> tuple[
    dict[str, View], dict[str, str], dict[str, tuple[locks.Holder, ...]], dict[str, Standing | None],
    dict[str, Interruption],
]:  # fmt: skip
    """Return what the hosts say of their releases, watches, locks, backups, and what was interrupted."""

    def on(host: Host) -> list[Any]:
        facts = observed[host.name]
        questions: tuple[Callable[[], Any], ...] = (
            lambda: compare.view_of(at, host, facts), lambda: watch_of(state_of(at, host), facts.edge.release),
            lambda: locks.holders(host, at.settings.state_dir), lambda: backup_of(at, host, facts),
            lambda: interruptions(at, hosts) if host is first else {},
        )  # fmt: skip
        return host.together(*questions)

    first = next(iter(hosts), None)
    answers = at.each(on, hosts)
    views, watches, held, backups = ({name: own[number] for name, own in answers.items()} for number in range(4))
    return views, watches, held, backups, {kind: cut for own in answers.values() for kind, cut in own[4].items()}


def say_findings(at: Environment, compared: Comparison) -> None:
    """Warn of what differs and hurts no visitor; what does is the error that comes last."""
    several = len(at.hosts) > 1
    for host, finding in compared.listed:
        if not finding.hurts:
            console.warn(acting(f"{f'{host}: ' if several else ''}{finding.what}", at.settings.env))


def of_comparison(compared: Comparison) -> dict[str, object]:
    """Return what the comparison came to, for programs."""
    findings = [
        {"host": host, "what": finding.what, "next": finding.then, "hurts": finding.hurts}
        for host, finding in compared.listed
    ]
    return {"visitors": compared.visitors, "findings": findings, "next": compared.then or None}


def backup_of(at: Environment, host: Host, facts: Facts) -> Standing | None:
    """Return when a host took and restored a recovery point last; None where its release has no backup service."""
    with suppress(OpsError):
        state, release = state_of(at, host), facts.edge.release or ""
        for service in state.release(release).of("backup") if release else ():
            given = isolated.environment(state.text(release, "shared.yml"), service.name)
            places = filter(None, map(given.get, ("RESTIC_REPOSITORY", "BACKUP_OFFSITE")))
            saved = standing(EvidenceFile(host, at.settings.state_dir).lines(), *places)
            return replace(saved, wal=receiving(host, facts) if state.release(release).of("wal") else None)
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
            edge = answered(at.settings, host)
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
        questions += [lambda: answered(at.settings, host), lambda: compare.public(at, host)]

    def tried(question: Callable[[], object]) -> None:
        with suppress(OpsError, OSError):  # it is met again where the answer is needed
            question()

    if at.remote:
        host.together(*(partial(tried, question) for question in questions))
    return observe(at.settings, host)


def print_state(
    at: Environment, views: Mapping[str, View], unreachable: Mapping[str, OpsError], watches: Mapping[str, str]
) -> None:
    """Say what serves, and how each service is."""
    many, observed = len(at.hosts) > 1, {name: view.facts for name, view in views.items()}
    for name, facts in observed.items():
        dead = facts.edge.front in unreachable
        watch = f", watch: {watches[name]}" if watches.get(name) else ""
        unknown = f"unknown while {facts.edge.front} does not answer" if dead else "unknown"
        serving = unknown if dead or name in unreachable else facts.serving
        console.say(f"{at.settings.name}{f' on {name}' if many else ''}: {serving}{watch}")
    rows = {name: [*map(row, view.facts.containers), *missing_rows(view)] for name, view in views.items()}
    console.table_of(["service", "colour", "state", "health", "release"], rows, several=many)
    for facts in observed.values():
        for c in facts.containers:
            if c.out_of_memory:
                text = (
                    f"{c.name}: a process was killed at the memory limit; inv logs {c.service}, or raise its mem_limit"
                )
                console.warn(acting(text, at.settings.env))


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
    settings: Settings, views: Mapping[str, View], unreachable: Mapping[str, OpsError], watches: Mapping[str, str]
) -> dict[str, object]:
    """Return the state as the command contract has it; release and colour are null where hosts differ."""
    hosts = [
        {
            "name": name,
            "release": view.facts.edge.release,
            "watch": watches.get(name, ""),
            "services": [*map(service_document, view.facts.containers), *missing_documents(view)],
            "edge": {
                "running": view.facts.edge.running,
                "generation": view.facts.edge.generation,
                "maintenance": view.facts.edge.maintenance,
                "answers": all(status == 200 for status in view.answers.values()) if view.answers else None,
                "public": view.public,
            },
        }
        for name, view in views.items()
    ]
    edges = [view.facts.edge for name, view in views.items() if name not in unreachable]
    releases, colours = {edge.release for edge in edges}, {edge.colour for edge in edges}
    errors = {name: error.document for name, error in unreachable.items()}
    return {
        "env": settings.env,
        "release": releases.pop() if len(releases) == 1 else None,
        "colour": colours.pop() if len(colours) == 1 else None,
        "watch": max(watches.values(), default=""),  # as text the worst is the greatest
        "hosts": hosts,
        **({"unreachable": errors} if errors else {}),
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
