"""What is wrong, on one screen: every part in its own time, then the likeliest cause and the next command."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from deploy.backups.show import age
from deploy.config.environment import Environment
from deploy.core import console
from deploy.core.errors import acting
from deploy.core.facts import Container
from deploy.incidents import bundle, certificates, validate
from deploy.incidents.cause import Cause, causes
from deploy.incidents.gates import Gate
from deploy.incidents.log_errors import KINDS
from deploy.incidents.sight import FIRST, SECOND, Sight, look, within
from deploy.insight.compare import Comparison, compare
from deploy.insight.history import outcome
from deploy.insight.space import shown

WITHIN = FIRST + SECOND + 0.5  # seconds for all hosts
NO_ALERTS = "no Alertmanager answers; inv monitor.up starts it"
ON_PURPOSE = {
    "maintenance": "visitors get the maintenance page, on purpose; nothing else is wrong, as far as this can see",
    "stopped": "inv down has stopped it; visitors get nothing",
    "nothing": "nothing is deployed",
}
OTHERS = 2  # causes that are shown besides the likeliest


@dataclass(frozen=True)
class Part:
    """One part of the screen: its lines, or why nobody could look."""

    name: str
    lines: tuple[str, ...]
    unknown: str = ""

    @property
    def text(self) -> str:
        """What stands in the table."""
        return f"UNKNOWN: {self.unknown}" if self.unknown else "\n".join(self.lines) or "nothing"


@dataclass(frozen=True)
class Triage:
    """All that was seen, and what it may mean."""

    sights: tuple[Sight, ...]
    compared: Comparison
    certificate: Gate | None
    causes: tuple[Cause, ...]
    seconds: float


def show(at: Environment, *, folder: str = "", json: bool) -> None:
    """Show what is wrong, on every host, and the next command; write it into a new `folder` as well.

    Raises Refused, before it looks, for a folder that has something in it.
    """
    if folder:
        bundle.require_new(Path(folder))
    seen, env = triage(at), at.settings.env
    if folder:
        names = bundle.write(at, document(seen, env), seen.sights, Path(folder))
        console.say(f"{len(names)} files are in {folder}")
    if json:
        console.document(document(seen, env))
        return
    rows = {sight.host: [[part.name, acting(part.text, env)] for part in parts(sight)] for sight in seen.sights}
    console.table_of(["", f"seen in {seen.seconds:.1f} s"], rows, several=len(at.hosts) > 1)
    for line in conclusion(seen, env):
        console.say(line)


def triage(at: Environment) -> Triage:
    """Look at every host at once, and judge."""
    began, now = time.monotonic(), datetime.now(UTC)
    for host in at.hosts:
        host.unlock()
    acts: dict[str, Callable[[], object]] = {f"on {host.name}": partial(look, at, host) for host in at.hosts}
    acts["certificate"] = lambda: certificates.valid(
        *validate.served_names(at.settings), now, connect=at.hosts[0].connect
    )
    seen, silent = within(WITHIN, acts)
    sights = tuple(
        seen.get(name) or unreachable(host.name, silent[name]) for host in at.hosts if (name := f"on {host.name}")
    )
    compared = compare({sight.host: sight.view for sight in sights if sight.view})
    judged = causes(sights, compared, seen.get("certificate"), now)
    return Triage(sights, compared, seen.get("certificate"), judged, round(time.monotonic() - began, 1))


def unreachable(host: str, why: str) -> Sight:
    """Describe a host that could not be asked. Pure."""
    return Sight(host, unknown={"services": why})


def conclusion(seen: Triage, env: str) -> Iterator[str]:
    """Say the likeliest cause, what else may be, and the next command. Pure."""
    unknown = sorted({f"{name} of {sight.host}" for sight in seen.sights for name in sight.unknown})
    if unknown:
        yield f"not seen: {', '.join(unknown)}"
    if not seen.causes:
        yield ON_PURPOSE.get(seen.compared.visitors, "nothing is wrong, as far as this can see")
        if seen.compared.then:
            yield acting(f"next: {seen.compared.then}", env)
        return
    first, *others = seen.causes
    yield acting(f"likeliest: {first.what}", env)
    for other in others[:OTHERS]:
        yield acting(f"also: {other.what}; {other.then}", env)
    yield acting(f"next: {first.then}", env)


def parts(sight: Sight) -> list[Part]:
    """Make the screen of one host; what it does not have is left out. Pure but for the clock."""
    every = [
        part(sight, "services", "services", sight.view, services),
        part(sight, "visitors", "services", sight.view, visitors),
        part(sight, "requests, 15 min", "requests", sight.requests, lambda sight: [str(sight.requests)]),
        part(sight, "errors, 15 min", "errors", sight.errors, lambda sight: map(str, (sight.errors or ())[:KINDS])),
        part(sight, "usage", "usage", sight.usage, lambda sight: sight.usage or ()),
        part(sight, "free", "disk", sight.disk, space),
        part(sight, "deploys", "deploys", sight.deploys, deploys),
        part(sight, "alerts", "alerts", sight.alerts, lambda sight: sight.alerts or (), NO_ALERTS),
        part(sight, "slow queries", "database", sight.queries, lambda sight: sight.queries or ()),
        part(sight, "who waits", "database", sight.waiting, lambda sight: sight.waiting or ()),
        part(sight, "queue", "queue", sight.queue, queues),
        part(sight, "backup", "backup", sight.backup, lambda sight: [sight.backup.words if sight.backup else ""]),
        part(sight, "at work", "commands", sight.holders, lambda sight: [*sight.holders, *map(str, sight.interrupted)]),
    ]
    return [one for one in every if one]


def part(
    sight: Sight, name: str, key: str, value: object, lines: Callable[[Sight], Iterable[str]], absent: str = ""
) -> Part | None:  # fmt: skip
    """Make one part: its lines, or why it was not seen; None where a host has no such thing. Pure."""
    if key in sight.unknown:
        return Part(name, (), sight.unknown[key])
    if value is None:
        return Part(name, (absent,)) if absent else None
    return Part(name, tuple(filter(None, lines(sight))))


def queues(sight: Sight) -> list[str]:
    """Say how many tasks wait. Pure."""
    return [f"{name}: {tasks} tasks wait or are at work" for name, tasks in (sight.queue or {}).items()]


def services(sight: Sight) -> list[str]:
    """Say what serves, how many services are well, and which are not. Pure."""
    if not sight.view:
        return []
    facts = sight.view.facts
    live = [c for c in facts.containers if c.colour in ("", facts.edge.colour)]
    well = [c for c in live if c.up and not c.restarts]
    bad = [f"{c.service}: {condition(c)}" for c in live if c not in well]
    return [f"{facts.serving}; {len(well)} of {len(live)} containers are well", *bad[:KINDS]]


def condition(c: Container) -> str:
    """Say how a container is. Pure."""
    health = f", {c.health}" if c.health else ""
    ended = "" if c.state == "running" else f", exit code {c.exit_code}"
    return f"{c.state}{health}{ended}, restarted {c.restarts} times"


def visitors(sight: Sight) -> list[str]:
    """Say what visitors get. Pure."""
    view = sight.view
    if not view:
        return []
    page = (
        "the first page was not asked" if view.public is None else f"the first page answers {view.public or 'nothing'}"
    )
    asked = ", ".join(f"{name} answers {status or 'nothing'}" for name, status in view.answers.items())
    return [page + (f"; {asked}" if asked else "")]


def space(sight: Sight) -> list[str]:
    """Say what is free. Pure."""
    memory = f", {shown(sight.memory)} of memory" if sight.memory is not None else ""
    return [f"{shown(free)} at {place}{memory}" for place, free in (sight.disk or {}).items()]


def deploys(sight: Sight) -> list[str]:
    """Show the last commands on releases, newest first."""
    entries = (sight.deploys or ())[::-1][:3]
    return [f"{age(one.started)} ago {one.command} of {one.release}: {outcome(one)}, {one.who}" for one in entries]


def document(seen: Triage, env: str) -> dict[str, object]:
    """Return all that was seen, for programs."""
    hosts = [
        {
            "name": sight.host,
            "parts": [
                {"part": one.name, "unknown": one.unknown or None, "lines": list(one.lines)} for one in parts(sight)
            ],
        }
        for sight in seen.sights
    ]
    listed = [{"what": acting(one.what, env), "next": acting(one.then, env)} for one in seen.causes]
    return {
        "env": env,
        "seconds": seen.seconds,
        "visitors": seen.compared.visitors,
        "hosts": hosts,
        "certificate": seen.certificate.evidence if seen.certificate else None,
        "causes": listed,
        "next": listed[0]["next"] if listed else None,
    }
