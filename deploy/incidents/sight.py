"""What triage looks at on one host: each part by itself and in its own time, so that a hung one stops no other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

from deploy.backups.show import Standing
from deploy.config import secrets
from deploy.config.environment import Environment
from deploy.core.errors import to_ops_error
from deploy.core.facts import Container, EdgeFacts
from deploy.core.model import Record
from deploy.core.shell import docker, query
from deploy.database.postgres import database_of
from deploy.hosts.host import Host
from deploy.incidents import log_errors
from deploy.incidents.log_errors import Group, Requests
from deploy.insight import compare
from deploy.insight.compare import View
from deploy.insight.status import backup_of
from deploy.site.facts import ask_edge, observe
from deploy.site.run import standing_on
from deploy.state import locks
from deploy.state.journal import Intention
from deploy.state.store import state_of

FIRST, SECOND = 4.0, 5.0  # seconds for what needs nothing, then for what needs the containers
SINCE, TAIL = "15m", 400  # of each log
RECENT = 5  # lines of the ledger
SLOW_SECONDS = 30  # a transaction that is older is slow
HIDDEN = "(not shown: the release's secrets cannot be read, and it may hold some)"


@dataclass(frozen=True)
class Sight:
    """What one host shows; a part that is None was not seen, and `unknown` says why, by the part's name."""

    host: str
    view: View | None = None
    edge: EdgeFacts | None = None  # what the edge itself says, whatever the engine does
    errors: tuple[Group, ...] | None = None
    last_words: Mapping[str, str] = field(default_factory=dict)  # of containers that do not run, by service
    requests: Requests | None = None
    usage: tuple[str, ...] | None = None
    memory: int | None = None  # bytes that are free
    disk: Mapping[str, int] | None = None  # free bytes by place
    deploys: tuple[Record, ...] | None = None
    alerts: tuple[str, ...] | None = None
    queries: tuple[str, ...] | None = None
    waiting: tuple[str, ...] | None = None
    queue: Mapping[str, int] | None = None
    backup: Standing | None = None
    holders: tuple[str, ...] = ()
    interrupted: tuple[Intention, ...] = ()
    unknown: Mapping[str, str] = field(default_factory=dict)


def look(at: Environment, host: Host) -> Sight:
    """Look at one host, within nine seconds and a bit."""
    state, settings = state_of(at, host), at.settings
    seen, unknown = within(
        FIRST,
        {
            "services": lambda: compare.view_of(at, host, observe(settings, host)),
            "edge": lambda: ask_edge(settings, host),
            "disk": lambda: {str(path): host.free_bytes(path) for path in (settings.state_dir,)},
            "memory": host.free_memory,
            "deploys": lambda: state.history()[-RECENT:],
            "alerts": lambda: alerts(host, settings.monitor.alertmanager_port),
            "commands": lambda: (
                tuple(str(one.words) for one in locks.holders(host, settings.state_dir)),
                state.interruptions(),
            ),
        },
    )
    holders, interrupted = seen.get("commands") or ((), ())
    view: View | None = seen.get("services")
    more, also = within(SECOND, deeper(at, host, view)) if view else ({}, {})
    printed: tuple[tuple[Group, ...] | None, dict[str, str]] = more.get("errors") or (None, {})
    queries, waiting = more.get("database") or (None, None)
    return Sight(
        host.name, view, seen.get("edge"), printed[0], printed[1], more.get("requests"), more.get("usage"),
        seen.get("memory"), seen.get("disk"), seen.get("deploys"), seen.get("alerts"), queries, waiting,
        more.get("queue"), more.get("backup"), holders, interrupted, {**unknown, **also},
    )  # fmt: skip


def deeper(at: Environment, host: Host, view: View) -> dict[str, Callable[[], Any]]:
    """Return what is looked at once the containers are seen, by name."""
    there = [c for c in view.facts.containers if c.colour in ("", view.facts.edge.colour)]
    return {
        "errors": lambda: errors(at, host, there),
        "requests": lambda: requests(host, there),
        "usage": lambda: usage(host, there),
        "database": lambda: database(at, host, view),
        "queue": lambda: queue(host, view, there),
        "backup": lambda: backup_of(at, host, view.facts),
    }


def within(seconds: float, acts: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Do several things at once; return what each came to by its name, and why others came to nothing in that time."""
    results, failed = dict[str, Any](), dict[str, str]()

    def act(name: str, one: Callable[[], Any]) -> None:
        try:
            results[name] = one()
        except Exception as error:  # noqa: BLE001  # whatever it is, the other parts are shown
            failed[name] = to_ops_error(error).what.partition("\n")[0]

    threads = {name: Thread(target=act, args=(name, one), daemon=True) for name, one in acts.items()}
    until = time.monotonic() + seconds
    for thread in threads.values():
        thread.start()
    for thread in threads.values():
        thread.join(max(0.0, until - time.monotonic()))
    silent = {name: f"no answer within {seconds:.0f} s" for name in acts if name not in results and name not in failed}
    return dict(results), {**failed, **silent}


def errors(at: Environment, host: Host, there: Sequence[Container]) -> tuple[tuple[Group, ...], dict[str, str]]:
    """Group the errors that containers printed lately, and read the last words of those that do not run; masked."""
    hide, printed, words = hiding(at, host, there), dict[str, str](), dict[str, str]()
    for c in there:
        options = ("--since", SINCE) if c.state == "running" else ()
        asked = docker("logs", *options, "--tail", TAIL, c.name).as_query()
        done = host.try_run(asked, timeout=SECOND)
        text = hide(done.stdout + done.stderr)
        printed[c.service] = printed.get(c.service, "") + text
        if c.state != "running" and c.service not in words:
            words[c.service] = log_errors.last_words(text)
    return log_errors.grouped(printed), words


def hiding(at: Environment, host: Host, there: Sequence[Container]) -> Callable[[str], str]:
    """Return what hides the secrets of every release that has a container; all of a text where these are gone."""
    state, values = state_of(at, host), set[str]()
    for release in {c.release for c in there if c.release}:
        text = None
        with suppress(OSError):
            text = host.read(state.bundle_folder(release) / "env")
        if text is None:
            return lambda text: HIDDEN if text.strip() else ""
        values |= set(secrets.rendered(text).values())
    return lambda text: secrets.masked(text, values)


def requests(host: Host, there: Sequence[Container]) -> Requests | None:
    """Count what visitors got lately, by the edge's log; None on a host without an edge that runs."""
    edge = next((c for c in there if c.role == "edge" and c.state == "running"), None)
    if not edge:
        return None
    asked = docker("logs", "--since", SINCE, "--tail", TAIL * 10, edge.name).as_query()
    return log_errors.requests(host.run(asked, timeout=SECOND).splitlines())


def usage(host: Host, there: Sequence[Container]) -> tuple[str, ...]:
    """Say what each container takes of processor and memory, the most memory first."""
    names = [c.name for c in there if c.state == "running"]
    form = "{{.MemPerc}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}"
    asked = docker("stats", "--no-stream", "--format", form, *names).as_query()
    rows = [line.split("\t") for line in host.run(asked, timeout=SECOND).splitlines()] if names else []
    rows = sorted((row for row in rows if len(row) == 4), key=lambda row: -share(row[0]))
    return tuple(f"{name}: {cpu} of a core, {memory} ({part})" for part, name, cpu, memory in rows[:3])


def share(text: str) -> float:
    """Read a share as `docker stats` writes it; 0 where there is none. Pure."""
    with suppress(ValueError):
        return float(text.removesuffix("%"))
    return 0.0


def alerts(host: Host, port: int) -> tuple[str, ...] | None:
    """Return the alerts that Alertmanager has, critical ones first; None where none answers."""
    status, body = host.get(port, "/api/v2/alerts?active=true&silenced=false&inhibited=false", timeout=FIRST)
    if status != 200:
        return None
    listed = [{**one.get("labels", {}), **one.get("annotations", {})} for one in json.loads(body)]
    listed = [one for one in listed if one.get("alertname") != "Watchdog"]
    listed.sort(key=lambda one: one.get("severity") != "critical")
    return tuple(
        f"{one.get('severity', '-')}: {one.get('alertname')} {one.get('summary', '')}".strip() for one in listed
    )


def database(at: Environment, host: Host, view: View) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Describe old transactions and who waits for whom; None on a host without a PostgreSQL that runs."""
    if not any(c.role == "data" and c.state == "running" for c in view.facts.containers):
        return None
    run = standing_on(at, host, str(view.facts.edge.release), view.facts)
    own = database_of([run])
    hide = hiding(at, host, view.facts.containers)
    return (tuple(map(hide, own.old_transactions(SLOW_SECONDS))), tuple(map(hide, own.waiting()))) if own else None


def queue(host: Host, view: View, there: Sequence[Container]) -> dict[str, int] | None:
    """Count the tasks that wait or run, by worker service; None where no worker can say it."""
    commands = {service.name: service.deploy.tasks for service in view.release.of("worker")} if view.release else {}
    able = {c.service: c for c in there if c.state == "running" and commands.get(c.service)}
    asked = {name: query("docker", "exec", c.name, *commands[name], "pending") for name, c in able.items()}
    counted = {name: len(host.run(one, timeout=SECOND).split()) for name, one in asked.items()}
    return counted or None
