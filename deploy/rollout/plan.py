"""From what is wanted and what is there to the steps between. Pure: the same inputs, the same plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deploy.model import COLOURS, Facts, Release, other
from deploy.rollout.steps import (
    AwaitHealthy,
    AwaitServed,
    CreateShared,
    Drain,
    Migrate,
    PrepareEdge,
    Prune,
    RunJob,
    StartColour,
    StartShared,
    Step,
    StopColour,
    Switch,
)


@dataclass(frozen=True)
class Plan:
    """The steps towards a release; none when it already serves."""

    release: Release
    colour: str
    generation: int
    steps: tuple[Step, ...]


def blue_green(wanted: Release, facts: Facts, *, migrate: bool = True, old: Iterable[str] = ()) -> Plan:
    """Plan a release into service: start the idle colour beside the live one, switch, drain, stop.

    `migrate` is False when going back: the schema stays. `old` are releases to forget at the end.
    """
    live = facts.edge.colour
    shared = start_shared(wanted, facts)
    idle = other(live)
    if live and serves(wanted, facts):
        return Plan(wanted, live, facts.edge.generation, (*shared, *retire(idle, facts)))
    generation = max(facts.edge.generation, 1) + 1
    steps = [*shared, *retire(idle, facts), *migration(wanted, idle, migrate), *start(wanted, idle)]
    steps += [Switch(idle, wanted.id, generation)]
    steps += retire(live, facts) if live else []
    steps += start_scheduler(wanted, idle)
    steps += [Prune(tuple(old))] if tuple(old) else []
    return Plan(wanted, idle, generation, tuple(steps))


def serves(wanted: Release, facts: Facts) -> bool:
    """Tell whether a release is what the edge names and all its services run."""
    if facts.edge.release != wanted.id or not facts.edge.colour:
        return False
    running = {c.service for c in facts.of(facts.edge.colour) if c.release == wanted.id and c.up}
    return running >= {service.name for service in wanted.of("web", "worker", "scheduler")}


def start_shared(wanted: Release, facts: Facts) -> list[Step]:
    """Create what colours share, start data and edge where they are missing or stopped; a running one is never touched."""
    running = {c.service for c in facts.containers if c.role in ("data", "edge") and c.state == "running"}
    missing = tuple(service.name for service in wanted.of("data", "edge") if service.name not in running)
    absent = tuple(name for name in wanted.resources if name not in facts.resources)
    first: list[Step] = [PrepareEdge()] if facts.edge.generation == 0 else []
    first += [CreateShared(absent)] if absent else []
    return [*first, StartShared(missing)] if missing else first


def migration(wanted: Release, colour: str, migrate: bool) -> list[Step]:
    """Migrate with the new image, before anything of it serves."""
    service = wanted.migrating
    return [Migrate(colour, service.name, service.deploy.migrate)] if migrate and service else []


def start(wanted: Release, colour: str) -> list[Step]:
    """Bring a colour up beside the live one; new workers first, since old ones discard tasks they do not know."""
    jobs = [RunJob(colour, job.name) for job in wanted.of("job") if job.deploy.run == "before_switch"]
    services = tuple(service.name for service in wanted.of("web", "worker"))
    return [*jobs, StartColour(colour, services), AwaitHealthy(colour, services), AwaitServed(colour)]


def retire(colour: str, facts: Facts) -> list[Step]:
    """Take a colour out, scheduler included, so that there are never two.

    Also done to what an interrupted run left in the idle colour, whatever its release: it may still answer requests, and
    it may have been told to drain, which only a new start undoes.
    """
    running = [c for c in facts.of(colour) if c.alive]
    web = tuple(c.service for c in running if c.role == "web")
    rest = tuple(c.service for c in running if c.role != "web")
    stops = [StopColour(colour, services) for services in (web, rest) if services]
    return [Drain(colour), *stops] if web else list(stops)


def stop_all(colour: str, facts: Facts) -> list[Step]:
    """Stop whatever runs in a colour that serves nobody."""
    running = tuple(c.service for c in facts.of(colour) if c.alive)
    return [StopColour(colour, running)] if running else []


def start_scheduler(wanted: Release, colour: str) -> list[Step]:
    """Start the new scheduler once the old one is gone."""
    services = tuple(service.name for service in wanted.of("scheduler"))
    return [StartColour(colour, services), AwaitHealthy(colour, services)] if services else []


def back(previous: Release | None, now: Facts) -> tuple[Step, ...]:
    """Plan the way back after a failure: to the release that served before, or to nothing if there was none."""
    if previous:
        return blue_green(previous, now, migrate=False).steps
    unroute: list[Step] = [Switch(None, None, now.edge.generation + 1)] if now.edge.colour else []
    return (*unroute, *(step for colour in COLOURS for step in stop_all(colour, now)))
