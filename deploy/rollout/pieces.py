"""The pieces that plans are put together from: each the few steps of one purpose, or none. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from deploy.core.facts import Container, Facts
from deploy.core.model import SHARED, Release, ReleasedService, Role
from deploy.rollout.steps import (
    AwaitHealthy,
    AwaitOrphans,
    AwaitTasks,
    CreateShared,
    Drain,
    Migrate,
    PrepareEdge,
    Quiet,
    RecordMigrations,
    RecreateShared,
    RestoreEdge,
    Resume,
    RevertEdge,
    RunJob,
    StartColour,
    StartShared,
    Step,
    StopColour,
    TemporaryCertificate,
)
from deploy.rollout.turns import Turn, count_healthy


def settle(facts: Facts) -> list[Step]:
    """Bring to an end what an interrupted run left half done, before anything builds on it."""
    orphans: list[Step] = [AwaitOrphans(facts.orphans)] if facts.orphans else []
    return [*orphans, RevertEdge(facts.edge.unproven)] if facts.edge.unproven else orphans


def start_shared(
    desired: Release, facts: Facts, data: Collection[str] = (), recreated: Collection[str] = (), *, forward: bool = True
) -> list[Step]:  # fmt: skip
    """Create what colours share, start data and edge where they are missing or stopped; a running one is never touched.

    Nor is `data` that runs on another host started a second time here, nor what is to be `recreated` started as it was.
    Going back waits for no service that the engine is starting again and again, unless it is the edge.
    """
    failing = () if forward else (name for name, c in facts.shared_alive.items() if c.role != "edge")
    left = {*facts.shared, *recreated, *failing}
    elsewhere = {s.name for s in desired.of("data")} & {*data}
    lacking = tuple(s.name for s in desired.of(*SHARED) if s.name not in left | elsewhere)
    absent = tuple(name for name in desired.resources if name not in facts.resources)
    first: list[Step] = [PrepareEdge()] if facts.edge.generation == 0 and desired.of("edge") else []
    first += [CreateShared(absent)] if absent else []
    edges = tuple(s.name for s in desired.of("edge") if s.name in lacking)
    starts = edges or {*recreated} & {s.name for s in desired.of("edge")}
    first += [TemporaryCertificate()] if starts and desired.of("certificates") else []
    others = tuple(name for name in lacking if name not in edges)
    if forward or not others:
        return [*first, StartShared(lacking)] if lacking else first
    return [*first, StartShared(others, required=False), *([StartShared(edges)] if edges else [])]


def recreate_shared(recreated: Iterable[str], facts: Facts) -> list[Step]:
    """Recreate shared services, and remember what they are made of now."""
    former = {name: facts.shared_existing[name].made_of if name in facts.shared_existing else "" for name in recreated}
    edges = tuple(name for name in former if name in facts.shared and facts.shared[name].role == "edge")
    first: list[Step] = [RestoreEdge(edges[0], facts.edge.generation)] if edges and facts.edge.forgotten else []
    return [*first, RecreateShared(tuple(former), tuple(former.values()))] if former else []


def migrate(desired: Release, colour: str) -> list[Step]:
    """Migrate with the new image, before anything of it serves."""
    service = desired.migrating
    return [Migrate(colour, service.name, service.deploy.migrate)] if service else []


def run_jobs(desired: Release, colour: str, *, forward: bool = True) -> list[Step]:
    """Run what a release asks for before traffic moves; going back only what says that it is for that too."""
    asked = [job for job in desired.of("job") if job.deploy.run == "before_switch"]
    return [RunJob(colour, job.name) for job in asked if forward or job.deploy.on_rollback]


def record_migrations(desired: Release, colour: str) -> list[Step]:
    """Remember the migrations of a release whose jobs migrate; Migrate does so itself."""
    service = None if desired.migrating else desired.listing
    return [RecordMigrations(colour, service.name, service.deploy.migrations)] if service else []


def bring_up(
    desired: Release, colour: str, roles: tuple[Role, ...], existing: Iterable[Container], turn: Turn | None = None
) -> list[Step]:  # fmt: skip
    """Start what does not run yet, all of it or one turn's; what runs may have been drained, and is resumed."""
    services = desired.of(*roles)
    turn = turn or Turn(max((s.replicas for s in services), default=0))
    running = {s.name: count_healthy(s, desired, existing) for s in services}
    lacking = tuple(s.name for s in services if turn.brings(s, running[s.name]))
    resumable = tuple(s.name for s in services if s.deploy.resume and turn.first and running[s.name])
    upto = 0 if turn.last else turn.upto
    steps: list[Step] = [StartColour(colour, lacking, upto), AwaitHealthy(colour, lacking, upto)] if lacking else []
    return [*steps, Resume(colour, resumable)] if resumable else steps


def quiet_workers(workers: Iterable[ReleasedService], colour: str, facts: Facts) -> list[Step]:
    """Let the live workers take no new tasks: the new web services may queue some that these do not know."""
    running = {c.service for c in facts.of(colour, "worker") if c.alive}
    able = tuple(s.name for s in workers if s.deploy.drain and s.name in running)
    return [Quiet(colour, able)] if able else []


def await_tasks(workers: Iterable[ReleasedService], colour: str, facts: Facts) -> list[Step]:
    """Keep the workers that are left until nothing waits that only they know."""
    running = {c.service for c in facts.of(colour, "worker") if c.state == "running"}
    return [AwaitTasks(colour, s.name) for s in workers if s.deploy.tasks and s.name in running]


def retire(
    colour: str, facts: Facts, roles: Iterable[str] = ("web", "worker", "scheduler", "job"), *, warm: bool = False,
    keep: tuple[str, ...] = (), since: int = 0, routed: bool = False,
) -> list[Step]:  # fmt: skip
    """Take a colour out, all but what to `keep`; with its scheduler, so that there are never two.

    `warm` keeps web services. `routed`: the edge may have named other hosts' containers too, and must have let go of
    them before they stop.

    Also done to what an interrupted run left in the idle colour, whatever its release: it may still answer requests,
    and it may have been drained.
    """
    web = stop(colour, facts, "web", keep=keep)
    rest = [role for role in roles if role != "web"]
    steps: list[Step] = [Drain(colour, since)] if web or (routed and not facts.edge.front) else []
    return [*steps, *([] if warm else web), *(stop(colour, facts, *rest, keep=keep) if rest else [])]


def stop(colour: str, facts: Facts, *roles: str, keep: tuple[str, ...] = ()) -> list[Step]:
    """Stop what runs in a colour, of all roles or some."""
    leaving = [c.service for c in facts.of(colour, *roles) if c.alive and c.name not in keep]
    return [StopColour(colour, tuple(dict.fromkeys(leaving)), of_roles(keep, facts, *roles))] if leaving else []


def of_roles(names: tuple[str, ...], facts: Facts, *roles: str) -> tuple[str, ...]:
    """Return those of some containers that have one of these roles."""
    return tuple(c.name for c in facts.containers if c.name in names and c.role in roles)
