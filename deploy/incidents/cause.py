"""What is most likely wrong, from what triage saw, and the next command. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from deploy.incidents import dora
from deploy.incidents.gates import Gate
from deploy.incidents.sight import Sight
from deploy.insight.compare import Comparison, Finding, differences

MEGABYTE = 1_000_000
FULL, TIGHT = 200 * MEGABYTE, 150 * MEGABYTE  # bytes: a disk that is full, memory that is short
FRESH = timedelta(hours=1)  # a deploy this young is the first suspect
MANY_ERRORS, FEW_REQUESTS = 0.05, 20  # a share of 5xx, and how many requests say something
PATIENCE = 3  # seconds in which most locks are free again
MANY_TASKS = 100  # tasks that wait: more than a worker soon gets through


@dataclass(frozen=True)
class Cause:
    """What may be wrong, and the next command."""

    what: str
    then: str


def causes(sights: Sequence[Sight], compared: Comparison, certificate: Gate | None, now: datetime) -> tuple[Cause, ...]:
    """Name what may be wrong, the likeliest first; nothing where nothing is seen. Pure.

    What breaks others comes first: a full disk, then the edge, data, a certificate; then what was done last; then what
    a service shows by itself.
    """
    every = [
        *(one for sight in sights for one in disks(sight)),
        *services(sights, ("edge", "data")),
        *certificates(certificate),
        *(one for sight in sights for one in unfinished(sight)),
        *stopped(sights),
        *deploys(sights, compared, now),
        *services(sights, ("web",)),
        *(one for sight in sights for one in memory(sight)),
        *(one for sight in sights for one in blocked(sight)),
        *(one for sight in sights for one in answers(sight, compared)),
        *services(sights, ("scheduler", "worker")),
        *(one for sight in sights for one in queues(sight)),
        *(one for sight in sights for one in blind(sight)),
    ]
    return tuple(dict.fromkeys(every))


def disks(sight: Sight) -> Iterator[Cause]:
    """Yield disks that are full. Pure."""
    for place, free in (sight.disk or {}).items():
        if free < FULL:
            yield Cause(f"the disk of {sight.host} is full: {free // MEGABYTE} MB are free at {place}", "inv disk")


def services(sights: Sequence[Sight], roles: Sequence[str]) -> Iterator[Cause]:
    """Yield services of some roles that are missing or unwell, with the last words of what has ended. Pure."""
    for role in roles:
        for sight in sights:
            view = sight.view
            if not view or not view.release or view.down == "done":
                continue
            names = {service.name for service in view.release.services if service.role == role}
            for one in differences(view):
                if one.what.partition(" ")[0] in names:
                    yield explained(sight, one)


def stopped(sights: Sequence[Sight]) -> Iterator[Cause]:
    """Yield web services of which nothing runs: no young deploy is needed to explain what visitors get. Pure."""
    yield from (one for one in services(sights, ("web",)) if one.then.startswith("inv deploy"))


def explained(sight: Sight, finding: Finding) -> Cause:
    """Add to a finding what its container printed last, and whether it was killed for memory. Pure."""
    service = finding.what.partition(" ")[0]
    containers = sight.view.facts.containers if sight.view else ()
    killed = [c for c in containers if c.service == service and c.out_of_memory]
    words = sight.last_words.get(service, "")
    because = "; a process was killed at its memory limit: raise mem_limit" if killed else ""
    because += f"; its last words: {words}" if words else ""
    return Cause(f"{sight.host}: {finding.what}{because}", finding.then)


def certificates(gate: Gate | None) -> Iterator[Cause]:
    """Yield a certificate that visitors refuse, or soon will. Pure."""
    if gate and gate.result == "FAIL":
        yield Cause(f"the certificate: {gate.evidence}", gate.then)


def unfinished(sight: Sight) -> Iterator[Cause]:
    """Yield what was interrupted, or what somebody does right now. Pure."""
    if sight.holders:
        yield Cause(f"{sight.host}: somebody is at work: {sight.holders[0]}", "inv unlock says who, and how far")
    elif sight.interrupted:
        yield Cause(f"{sight.host}: {sight.interrupted[0]} was interrupted", "inv resume goes on, inv abort goes back")


def deploys(sights: Sequence[Sight], compared: Comparison, now: datetime) -> Iterator[Cause]:
    """Yield the last deploy where it is young and visitors get errors, or the log is full of them. Pure."""
    entries = [entry for sight in sights for entry in sight.deploys or () if entry.outcome == "in service"]
    last = max(entries, key=lambda entry: entry.started, default=None)
    erring = any(sight.requests and is_erring(sight) for sight in sights)
    web = any(finding.hurts for _, finding in compared.listed)
    if last and last.command == "deploy" and now - dora.ended(last) < FRESH and (erring or web):
        first = all(entry.release == last.release for entry in entries)
        minutes = (now - dora.ended(last)).total_seconds() / 60
        what = f"release {last.release} came into service {minutes:.0f} min ago, and visitors get errors since"
        yield Cause(what, "inv logs --since=15m" if first else "inv rollback")


def is_erring(sight: Sight) -> bool:
    """Tell whether many requests got a 5xx. Pure."""
    seen = sight.requests
    return bool(seen and seen.total >= FEW_REQUESTS and seen.share > MANY_ERRORS)


def memory(sight: Sight) -> Iterator[Cause]:
    """Yield containers that were killed for memory, and a host that has none left. Pure."""
    for c in sight.view.facts.containers if sight.view else ():
        if c.out_of_memory:
            what = f"{sight.host}: a process in {c.service} was killed at its memory limit"
            yield Cause(what, f"inv logs {c.service} --since=15m, and raise its mem_limit")
    if sight.memory is not None and sight.memory < TIGHT:
        yield Cause(
            f"{sight.host} has {sight.memory // MEGABYTE} MB of memory left", "inv status, then stop what grows"
        )


def blocked(sight: Sight) -> Iterator[Cause]:
    """Yield who holds a lock in the database that others wait for. Pure."""
    for line in (sight.waiting or ())[:1]:
        waited = re.search(r"waits (\d+) s", line)
        if waited and int(waited[1]) < PATIENCE:
            continue
        holder = re.search(r"for process (\d+)", line)
        end = f"SELECT pg_terminate_backend({holder[1]})" if holder else "SELECT * FROM pg_stat_activity"
        data = [c.service for c in sight.view.facts.containers if c.role == "data"] if sight.view else []
        command = f'psql -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "{end}"'
        name = next((one for one in data if "redis" not in one), "SERVICE")
        yield Cause(f"{sight.host}: {line}", f"inv exec {name} -- sh -c '{command}' ends that transaction")


def answers(sight: Sight, compared: Comparison) -> Iterator[Cause]:
    """Yield errors that visitors get, with the error that is logged most. Pure."""
    worst = f"; logged most: {sight.errors[0]}" if sight.errors else ""
    then = f"inv logs {sight.errors[0].service} --since=15m" if sight.errors else "inv logs --since=15m"
    for finding in compared.findings.get(sight.host, ()):
        if finding.hurts:
            yield Cause(f"{sight.host}: {finding.what}{worst}", then if sight.errors else finding.then)
    if sight.requests and is_erring(sight):
        yield Cause(f"{sight.host}: {sight.requests}{worst}", then)


def queues(sight: Sight) -> Iterator[Cause]:
    """Yield queues that are longer than workers soon get through. Pure."""
    for name, tasks in (sight.queue or {}).items():
        if tasks > MANY_TASKS:
            what = f"{sight.host}: {tasks} tasks wait for {name} or are at work"
            yield Cause(what, f"inv logs {name} --since=15m, then inv scale {name}=2")


def blind(sight: Sight) -> Iterator[Cause]:
    """Yield a host of which the containers could not be seen. Pure."""
    if sight.view is None:
        why = sight.unknown.get("services", "not seen")
        edge = f"; its edge answers for release {sight.edge.release}" if sight.edge and sight.edge.release else ""
        yield Cause(f"the containers of {sight.host} cannot be seen: {why}{edge}", "inv doctor")
