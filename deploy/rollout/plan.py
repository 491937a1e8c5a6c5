"""From what is wanted and what is there to the steps between. Pure: the same inputs, the same plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from deploy.model import COLOURS, Container, Facts, Release, Role, other
from deploy.rollout.steps import (
    AwaitHealthy,
    AwaitOrphans,
    AwaitServed,
    AwaitTasks,
    CreateShared,
    Drain,
    Migrate,
    PrepareEdge,
    Prune,
    Quiet,
    RecreateShared,
    Resume,
    RevertEdge,
    RunJob,
    StartColour,
    StartShared,
    Step,
    StopColour,
    Switch,
    Watch,
)


@dataclass(frozen=True)
class Plan:
    """The steps towards a release; none when it already serves."""

    release: Release
    colour: str
    generation: int
    steps: tuple[Step, ...]


def blue_green(
    wanted: Release, facts: Facts, *, forward: bool = True, watch: bool = True, warm: bool = False, anew: Iterable[str] = (),
    old: Iterable[str] = (),
) -> Plan:  # fmt: skip
    """Plan a release into service: bring the idle colour up beside the live one, switch, drain, stop.

    Going `forward` migrates and, with `watch`, watches. Going back does neither, and keeps the workers until the tasks
    that only they know are done. With `warm` the old colour's web services run on. `anew` are shared services to
    recreate, `old` releases to forget at the end.
    """
    live, idle = facts.edge.colour, other(facts.edge.colour)
    steps = [*settle(facts), *start_shared(wanted, facts), *([RecreateShared(tuple(anew))] if tuple(anew) else [])]
    if live and carries(wanted, live, facts):
        return Plan(wanted, live, facts.edge.generation, (*steps, *finish(wanted, live, facts, watch=forward and watch, warm=warm)))
    switch = Switch(idle, wanted.id, facts.edge.next, facts.edge.maintenance)
    if reusable(wanted, idle, facts):
        there = facts.of(idle)
        steps += migration(wanted, idle) if forward else []
    else:
        there = ()
        steps += [*retire(idle, facts), *(migration(wanted, idle) if forward else []), *jobs(wanted, idle)]
    if forward:
        steps += [*bring_up(wanted, idle, ("web", "worker"), there), AwaitServed(idle), *quiet(wanted, live, facts)]
        steps += [switch, *([Watch(idle, wanted.id)] if watch and not facts.edge.maintenance else []), *retire(live, facts, warm=warm)]
    else:
        steps += [*bring_up(wanted, idle, ("web",), there), AwaitServed(idle), switch, *retire(live, facts, warm=warm, but="worker")]
        steps += [*await_tasks(wanted, live, facts), *bring_up(wanted, idle, ("worker",), there), *stop(live, facts, "worker")]
    steps += bring_up(wanted, idle, ("scheduler",), ())
    steps += [Prune(tuple(old))] if tuple(old) else []
    return Plan(wanted, idle, switch.generation, tuple(steps))


def back(previous: Release | None, now: Facts) -> tuple[Step, ...]:
    """Plan the way back after a failure: to the release that served before, or to nothing if there was none."""
    if previous:
        return blue_green(previous, now, forward=False).steps
    unroute: list[Step] = [Switch(None, None, now.edge.next)] if now.edge.colour else []
    return (*settle(now), *unroute, *(step for colour in COLOURS for step in stop(colour, now)))


def settle(facts: Facts) -> list[Step]:
    """Bring to an end what an interrupted run left half done, before anything builds on it."""
    orphans: list[Step] = [AwaitOrphans(facts.orphans)] if facts.orphans else []
    return [*orphans, RevertEdge(facts.edge.unproven)] if facts.edge.unproven else orphans


def start_shared(wanted: Release, facts: Facts) -> list[Step]:
    """Create what colours share, start data and edge where they are missing or stopped; a running one is never touched."""
    running = {c.service for c in facts.containers if c.role in ("data", "edge") and c.state == "running"}
    lacking = tuple(service.name for service in wanted.of("data", "edge") if service.name not in running)
    absent = tuple(name for name in wanted.resources if name not in facts.resources)
    first: list[Step] = [PrepareEdge()] if facts.edge.generation == 0 else []
    first += [CreateShared(absent)] if absent else []
    return [*first, StartShared(lacking)] if lacking else first


def carries(wanted: Release, colour: str, facts: Facts) -> bool:
    """Tell whether the edge names a release and its web services and workers run."""
    return facts.edge.release == wanted.id and not missing(wanted, ("web", "worker"), facts.of(colour))


def missing(wanted: Release, roles: tuple[Role, ...], there: Iterable[Container]) -> tuple[str, ...]:
    """Name the services of some roles that do not run well, or not of this release."""
    running = {c.service for c in there if c.release == wanted.id and c.up}
    return tuple(service.name for service in wanted.of(*roles) if service.name not in running)


def finish(wanted: Release, live: str, facts: Facts, *, watch: bool, warm: bool) -> list[Step]:
    """Do what is left once the edge names the release: nothing, or what an interrupted run did not come to."""
    idle, accepted = other(live), facts.accepted == wanted.id
    left = stop(idle, facts, "worker", "scheduler") if warm and accepted else retire(idle, facts, warm=warm)
    able = tuple(s.name for s in wanted.of("web", "worker") if s.deploy.resume)
    steps: list[Step] = [Resume(live, able)] if left and able else []
    steps += [Watch(live, wanted.id)] if left and watch and not accepted else []
    return [*steps, *left, *bring_up(wanted, live, ("scheduler",), facts.of(live))]


def reusable(wanted: Release, idle: str, facts: Facts) -> bool:
    """Tell whether what runs in the idle colour can serve as it is: this release, well, and a drain can be taken back."""
    alive = [c for c in facts.of(idle) if c.alive]
    final = {service.name for service in wanted.services if service.deploy.drain and not service.deploy.resume}
    return bool(alive) and all(c.release == wanted.id and c.up and c.role != "scheduler" and c.service not in final for c in alive)


def migration(wanted: Release, colour: str) -> list[Step]:
    """Migrate with the new image, before anything of it serves."""
    service = wanted.migrating
    return [Migrate(colour, service.name, service.deploy.migrate)] if service else []


def jobs(wanted: Release, colour: str) -> list[Step]:
    """Run what a release asks for before traffic moves."""
    return [RunJob(colour, job.name) for job in wanted.of("job") if job.deploy.run == "before_switch"]


def bring_up(wanted: Release, colour: str, roles: tuple[Role, ...], there: Iterable[Container]) -> list[Step]:
    """Start what does not run yet; what runs already may have been told to drain and is told to go on."""
    lacking = missing(wanted, roles, there)
    services = tuple(service.name for service in wanted.of(*roles))
    steps: list[Step] = [StartColour(colour, lacking), AwaitHealthy(colour, services)] if lacking else []
    able = tuple(s.name for s in wanted.of(*roles) if s.deploy.resume and s.name not in lacking)
    return [*steps, Resume(colour, able)] if able else steps


def quiet(wanted: Release, colour: str | None, facts: Facts) -> list[Step]:
    """Let the live workers take no new tasks: the new web services may queue some that these do not know."""
    running = {c.service for c in facts.of(colour or "", "worker") if c.alive}
    workers = tuple(s.name for s in wanted.of("worker") if s.deploy.drain and s.name in running)
    return [Quiet(colour, workers)] if colour and workers else []


def await_tasks(wanted: Release, colour: str | None, facts: Facts) -> list[Step]:
    """Keep the workers that are left until nothing waits that only they know."""
    running = {c.service for c in facts.of(colour or "", "worker") if c.state == "running"}
    return [AwaitTasks(colour, s.name) for s in wanted.of("worker") if colour and s.deploy.tasks and s.name in running]


def retire(colour: str | None, facts: Facts, *, warm: bool = False, but: Role | None = None) -> list[Step]:
    """Take a colour out, scheduler included, so that there are never two; `warm` keeps web services, `but` a role.

    Also done to what an interrupted run left in the idle colour, whatever its release: it may still answer requests, and
    it may have been told to drain.
    """
    web = tuple(c.service for c in facts.of(colour or "", "web") if c.alive)
    roles = [role for role in ("worker", "scheduler", "job") if role != but]
    steps: list[Step] = [Drain(colour)] if colour and web else []
    steps += [StopColour(colour, web)] if colour and web and not warm else []
    return [*steps, *stop(colour, facts, *roles)]


def stop(colour: str | None, facts: Facts, *roles: str) -> list[Step]:
    """Stop what runs in a colour, of all roles or some."""
    running = tuple(c.service for c in facts.of(colour, *roles) if c.alive) if colour else ()
    return [StopColour(colour, running)] if colour and running else []
