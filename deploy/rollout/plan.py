"""From what is wanted and what is there to the steps between. Pure: the same inputs, the same plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import pairwise

from deploy.model import COLOURS, Container, Facts, Release, ReleasedService, Role, other
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
    RemoveStopped,
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


@dataclass(frozen=True)
class Turn:
    """One turn of a release: up to how many replicas of each service it brings, and how many the turn before had brought."""

    upto: int
    before: int = 0
    last: bool = True

    @property
    def first(self) -> bool:
        """Tell whether no turn came before."""
        return not self.before

    def brings(self, service: ReleasedService, there: int) -> bool:
        """Tell whether a service gets a replica in this turn that it does not have already."""
        return min(self.upto, service.replicas) > max(min(self.before, service.replicas), there)


def towards(
    wanted: Release, facts: Facts, *, forward: bool = True, watch: bool = True, warm: bool = False, anew: Iterable[str] = (),
    old: Iterable[str] = (),
) -> Plan:  # fmt: skip
    """Plan a release into service: bring the idle colour up beside the live one, switch, drain, stop.

    Blue-green does so in one turn. Rolling takes a turn for each replica: of each service one more serves in the new
    colour, one less in the old.

    Going `forward` migrates and, with `watch`, watches. Going back does neither, and keeps the workers until the tasks
    that only they know are done. With `warm` the old colour's web services run on. `anew` are shared services to
    recreate, `old` releases to forget at the end.
    """
    live = facts.edge.colour
    steps = [*settle(facts), *start_shared(wanted, facts), *([RecreateShared(tuple(anew))] if tuple(anew) else [])]
    if live and carries(wanted, live, facts):
        return Plan(wanted, live, facts.edge.generation, (*steps, *finish(wanted, live, facts, watch=forward and watch, warm=warm)))
    new = live if live and facts.beside and facts.edge.release == wanted.id else other(live)  # one that is half in service goes on
    former = other(new) if live else None
    usable = bool(facts.beside) or reusable(wanted, new, facts)
    there = facts.of(new) if usable else ()
    if facts.beside and former == live:  # back from a release that is half in service: replicas of it that never served go first
        steps += stop(live, facts, "web", keep=facts.edge.members)
        facts = replace(
            facts, containers=tuple(c for c in facts.containers if c.role != "web" or c.name in facts.edge.members or c.colour == new)
        )
    steps += [] if usable else retire(new, facts)
    steps += migration(wanted, new) if forward else []
    steps += [] if usable else jobs(wanted, new)
    roles: tuple[Role, ...] = ("web", "worker") if forward else ("web",)
    generation = facts.edge.generation
    for turn in turns(wanted, roles, there, facts.of(former or "", "web")):
        keep = staying(wanted, former, facts, roles, turn)
        since, generation = generation, facts.edge.next if turn.first else generation + 1
        steps += [*bring_up(wanted, new, roles, there, turn), AwaitServed(new)]
        steps += quiet(wanted, former, facts) if forward and turn.first else []
        beside = only(keep, facts, "web")
        steps += [Switch(new, wanted.id, generation, facts.edge.maintenance, beside)]
        steps += [Watch(new, wanted.id, beside)] if forward and watch and (turn.first or turn.last) and not facts.edge.maintenance else []
        leaving = [*roles, "job", "scheduler"] if turn.last else roles
        steps += retire(former, facts, leaving, warm=warm, keep=keep, since=since)
    if not forward:
        steps += [*await_tasks(wanted, former, facts), *hand_back(wanted, new, former, facts, there)]
    steps += bring_up(wanted, new, ("scheduler",), ())
    steps += [Prune(tuple(old))] if tuple(old) else []
    return Plan(wanted, new, generation, tuple(steps))


def turns(wanted: Release, roles: tuple[Role, ...], there: Iterable[Container], replaced: Iterable[Container]) -> list[Turn]:
    """Divide a release into turns; one will do where nothing is replaced, and what an interrupted run has done is left out."""
    services, there = wanted.of(*roles), tuple(there)
    most = max((service.replicas for service in services), default=0) or 1
    if wanted.strategy != "rolling" or not any(c.alive for c in replaced):
        return [Turn(most)]
    ahead = [n for n in range(1, most) if any(min(n, s.replicas) > well(s, wanted, there) for s in services)]
    return [Turn(n, before, n == most) for before, n in pairwise([0, *ahead, most])]


def staying(wanted: Release, former: str | None, facts: Facts, roles: Iterable[Role], turn: Turn) -> tuple[str, ...]:
    """Name the old replicas that go on: as many as the new ones of this turn still lack."""
    left: list[str] = []
    for service in wanted.of(*roles):
        alive = [c.name for c in facts.of(former or "") if c.service == service.name and c.alive]
        left += alive[max(len(alive) - max(service.replicas - turn.upto, 0), 0) :]
    return tuple(left)


def hand_back(wanted: Release, new: str, former: str | None, facts: Facts, there: Iterable[Container]) -> list[Step]:
    """Let the earlier release's workers take over from the later one's."""
    steps: list[Step] = []
    for turn in turns(wanted, ("worker",), there, facts.of(former or "", "worker")):
        keep = staying(wanted, former, facts, ("worker",), turn)
        steps += [*bring_up(wanted, new, ("worker",), there, turn), *stop(former, facts, "worker", keep=keep)]
    return steps


def rescale(wanted: Release, facts: Facts, *, undo: bool = False) -> tuple[Step, ...]:
    """Plan more or fewer replicas of the release that serves: new ones run before the edge names them, others stop after.

    To `undo` only takes away, whatever else is unwell.
    """
    live, scaled = str(facts.edge.colour), wanted.of("web", "worker")
    less = () if undo else lacking(wanted, live, facts)
    surplus = [c for s in scaled for c in replicas(s.name, facts.of(live))[s.replicas :]]
    keep = tuple(c.name for c in facts.of(live) if c not in surplus)
    steps: list[Step] = [StartColour(live, less), AwaitHealthy(live, less), AwaitServed(live)] if less else []
    if {s.name for s in wanted.of("web")} & {*less, *(c.service for c in surplus)}:
        steps += [Switch(live, wanted.id, facts.edge.next, facts.edge.maintenance), Drain(live, facts.edge.generation)]
    names = tuple(dict.fromkeys(c.service for c in surplus))
    return (*settle(facts), *steps, *([StopColour(live, names, keep), RemoveStopped(live, names)] if names else []))


def replicas(service: str, there: Iterable[Container]) -> list[Container]:
    """Return the containers of a service, those that run first: the edge names the first of them."""
    return sorted((c for c in there if c.service == service), key=lambda c: (not c.alive, c.number))


def back(previous: Release | None, now: Facts) -> tuple[Step, ...]:
    """Plan the way back after a failure: to the release that served before, or to nothing if there was none."""
    if previous:
        return towards(previous, now, forward=False).steps
    unroute: list[Step] = [Switch(None, None, now.edge.next)] if now.edge.colour else []
    return (*settle(now), *unroute, *(step for colour in COLOURS for step in stop(colour, now)))


def undone_first(wanted: Release, facts: Facts) -> str | None:
    """Name the release to go back to before anything else: another one is half in service, and there are but two colours."""
    before = next((c.release for c in facts.beside), None)
    return before if wanted.id not in (facts.edge.release, before) else None


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
    """Tell whether the edge names a release alone, all replicas of it, and they and its workers run."""
    return facts.edge.release == wanted.id and not (facts.beside or lacking(wanted, colour, facts))


def lacking(wanted: Release, colour: str, facts: Facts) -> tuple[str, ...]:
    """Name the web services and workers with fewer replicas at work than are wanted: well, and the edge names them."""
    working = [c for c in facts.of(colour) if c.role != "web" or c.name in facts.edge.members]
    return tuple(s.name for s in wanted.of("web", "worker") if well(s, wanted, working) < s.replicas)


def well(service: ReleasedService, wanted: Release, there: Iterable[Container]) -> int:
    """Count the replicas of a service that run well and are of this release."""
    return sum(c.service == service.name and c.release == wanted.id and c.up for c in there)


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


def bring_up(
    wanted: Release, colour: str, roles: tuple[Role, ...], there: Iterable[Container], turn: Turn | None = None
) -> list[Step]:  # fmt: skip
    """Start what does not run yet, all of it or one turn's; what runs already may have been told to drain and is told to go on."""
    services = wanted.of(*roles)
    turn = turn or Turn(max((s.replicas for s in services), default=0))
    running = {s.name: well(s, wanted, there) for s in services}
    less = tuple(s.name for s in services if turn.brings(s, running[s.name]))
    able = tuple(s.name for s in services if s.deploy.resume and turn.first and running[s.name])
    upto = 0 if turn.last else turn.upto
    steps: list[Step] = [StartColour(colour, less, upto), AwaitHealthy(colour, tuple(running), upto)] if less else []
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


def retire(
    colour: str | None, facts: Facts, roles: Iterable[str] = ("web", "worker", "scheduler", "job"), *, warm: bool = False,
    keep: tuple[str, ...] = (), since: int = 0,
) -> list[Step]:  # fmt: skip
    """Take a colour out, all but what to `keep`; with its scheduler, so that there are never two. `warm` keeps web services.

    Also done to what an interrupted run left in the idle colour, whatever its release: it may still answer requests, and
    it may have been told to drain.
    """
    web = stop(colour, facts, "web", keep=keep)
    rest = [role for role in roles if role != "web"]
    steps: list[Step] = [Drain(colour, since)] if colour and web else []
    return [*steps, *([] if warm else web), *(stop(colour, facts, *rest, keep=keep) if rest else [])]


def stop(colour: str | None, facts: Facts, *roles: str, keep: tuple[str, ...] = ()) -> list[Step]:
    """Stop what runs in a colour, of all roles or some."""
    leaving = [c.service for c in facts.of(colour or "", *roles) if c.alive and c.name not in keep]
    return [StopColour(colour, tuple(dict.fromkeys(leaving)), only(keep, facts, *roles))] if colour and leaving else []


def only(names: tuple[str, ...], facts: Facts, *roles: str) -> tuple[str, ...]:
    """Return those of some containers that have one of these roles."""
    return tuple(c.name for c in facts.containers if c.name in names and c.role in roles)
