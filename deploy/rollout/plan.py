"""From what is wanted and what is there to the steps between. Pure: the same inputs, the same plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from deploy.core.model import COLOURS, Container, Facts, Release, Role, other
from deploy.rollout.pieces import await_tasks, bring_up, jobs, migration, only, quiet, recreate_shared, retire, settle, start_shared, stop
from deploy.rollout.steps import (
    AwaitEdgeSwitch,
    AwaitHealthy,
    AwaitServed,
    Drain,
    Prune,
    RegisterColour,
    RemoveStopped,
    Resume,
    StartColour,
    Step,
    StopColour,
    Switch,
    Watch,
)
from deploy.rollout.turns import replicas, staying, turns, well


@dataclass(frozen=True)
class Plan:
    """The steps towards a release; none when it already serves."""

    release: Release
    colour: str
    generation: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Others:
    """What hosts have together: whether one behind the edge lacks part of what serves, the colours that answer there, and all data."""

    lacking: bool = False
    colours: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()


ALONE = Others()


def towards(
    wanted: Release, facts: Facts, *, forward: bool = True, watch: bool = True, warm: bool = False, anew: Iterable[str] = (),
    old: Iterable[str] = (), others: Others = ALONE, leaving: Release | None = None, quieted: bool = False,
) -> Plan:  # fmt: skip
    """Plan a release into service: bring the idle colour up beside the live one, switch, drain, stop.

    Blue-green does so in one turn. Rolling takes a turn for each replica: of each service one more serves in the new
    colour, one less in the old.

    Going `forward` migrates and, with `watch`, watches. Going back does neither, and keeps the workers until the tasks
    that only they know are done. With `warm` the old colour's web services run on. `anew` are shared services to
    recreate, `old` releases to forget at the end. `others` is what the hosts have together: where one behind the same edge lacks
    some of what serves, all go to the other colour, and what runs there stops once the edge has let go of it; on the way back
    no data is started that another host runs. `leaving` is the
    release that serves: it knows how to talk to workers that the wanted one does not have here. Where some may have been
    `quieted`, they are told to go on.
    """
    live = facts.edge.colour
    anew = tuple(anew)
    shared = start_shared(wanted, facts, () if forward else others.data, anew, forward=forward)
    steps = [*settle(facts), *shared, *recreate_shared(anew, facts)]
    stays = wanted.as_it_is and facts.edge.release == wanted.id and not facts.beside  # it has no containers in the other colour
    if live and not others.lacking and (stays or carries(wanted, live, facts)):
        less = lacking(wanted, live, facts)
        steps += [StartColour(live, less), AwaitHealthy(live, less)] if less else []
        left = finish(wanted, live, facts, others, watch=forward and watch, warm=warm, quieted=quieted)
        return Plan(wanted, live, facts.edge.generation, (*steps, *left))
    new = live if live and facts.beside and facts.edge.release == wanted.id else other(live)  # one that is half in service goes on
    workers = {service.name: service for one in (leaving, wanted) if one for service in one.of("worker")}.values()
    former = other(new)  # also where no edge serves: it may have been elsewhere before, or have lost its configuration
    usable = bool(facts.beside) or reusable(wanted, new, facts)
    there = facts.of(new) if usable else ()
    if facts.beside and former == live:  # back from a release that is half in service: replicas of it that never served go first
        steps += stop(former, facts, "web", keep=facts.edge.members)
        going = [c for c in facts.of(former, "web") if c not in facts.named]
        facts = replace(facts, containers=tuple(c for c in facts.containers if c not in going))
    steps += [] if usable else retire(new, facts, routed=new in others.colours)
    steps += migration(wanted, new) if forward else []
    steps += [] if usable else jobs(wanted, new)
    roles: tuple[Role, ...] = ("web", "worker") if forward else ("web",)
    watched = forward and watch and not facts.edge.maintenance and watchable(wanted, facts)
    register = register_colour(wanted, new, facts)
    generation, since, first = facts.edge.next, facts.edge.generation, facts.edge.next + len(register)
    for generation, turn in enumerate(turns(wanted, roles, there, facts.of(former, "web"), behind=tied(wanted, facts)), first):
        keep = staying(wanted, former, facts, roles, turn)
        beside = only(keep, facts, "web")
        steps += [*bring_up(wanted, new, roles, there, turn), *(register if turn.first else ()), *await_served(wanted, new, facts)]
        steps += quiet(workers, former, facts) if forward and turn.first else []
        steps += [switch(new, wanted.id, generation, facts, beside)]
        steps += [Watch(new, wanted.id, beside)] if watched and (turn.first or turn.last) else []
        steps += retire(former, facts, [*roles, *(("job", "scheduler") if turn.last else ())], warm=warm, keep=keep, since=since,
                        routed=former in others.colours)  # fmt: skip
        since = generation
    steps += [] if forward else [*await_tasks(workers, former, facts), *hand_back(wanted, new, former, facts, there)]
    steps += bring_up(wanted, new, ("scheduler",), there)
    steps += [Prune(tuple(old))] if tuple(old) else []
    return Plan(wanted, new, generation, tuple(steps))


def hand_back(wanted: Release, new: str, former: str, facts: Facts, there: Iterable[Container]) -> list[Step]:
    """Let the earlier release's workers take over from the later one's."""
    steps: list[Step] = []
    for turn in turns(wanted, ("worker",), there, facts.of(former, "worker"), behind=tied(wanted, facts)):
        keep = staying(wanted, former, facts, ("worker",), turn)
        steps += [*bring_up(wanted, new, ("worker",), there, turn), *stop(former, facts, "worker", keep=keep)]
    return steps


def tied(wanted: Release, facts: Facts) -> bool:
    """Tell whether one edge serves what is on several hosts, this one among them."""
    return bool(facts.edge.front) or any(service.behind for service in wanted.of("web"))


def switch(colour: str | None, release: str | None, generation: int, facts: Facts, beside: tuple[str, ...] = ()) -> Step:
    """Plan the switch; on a host behind another's edge, to see that it was made there."""
    if facts.edge.front:
        return AwaitEdgeSwitch(facts.edge.front, colour, release)
    return Switch(colour, release, generation, bool(colour) and facts.edge.maintenance, beside)


def await_served(wanted: Release, colour: str, facts: Facts) -> list[Step]:
    """Ask through the edge, where it is."""
    return [AwaitServed(colour)] if wanted.of("web") and not facts.edge.front else []


def register_colour(wanted: Release, colour: str, facts: Facts) -> list[Step]:
    """Register what the edge does not know yet: a service is new, has another name, listens on another port, or is on another host."""
    lacking = tuple(s.name for s in wanted.of("web") if not facts.edge.reaches(s, colour))
    here = facts.edge.upstreams and not facts.edge.front  # not written down before a first start, and by older versions
    return [RegisterColour(colour, lacking, facts.edge.next)] if here and lacking else []


def watchable(wanted: Release, facts: Facts) -> bool:
    """Tell whether there is something to watch: what the edge's log says, where it is, and failed tasks."""
    return any(s.deploy.failed for s in wanted.of("worker")) if facts.edge.front else bool(wanted.of("web", "worker"))


def back(
    previous: Release | None, now: Facts, others: Others = ALONE, leaving: Release | None = None, *, quieted: bool = True,
    anew: Iterable[str] = (),
) -> tuple[Step, ...]:  # fmt: skip
    """Plan the way back after a failure: to the release that served before, or to nothing if there was none."""
    if previous:
        return towards(previous, now, forward=False, others=others, leaving=leaving, quieted=quieted, anew=anew).steps
    unroute = [switch(None, None, now.edge.next, now)] if now.edge.colour and not now.edge.front else []
    return (*settle(now), *unroute, *(step for colour in COLOURS for step in stop(colour, now)))


def rescale(wanted: Release, facts: Facts, *, undo: bool = False) -> tuple[Step, ...]:
    """Plan more or fewer replicas of the release that serves: new ones run before the edge names them, others stop after.

    To `undo` only takes away, whatever else is unwell.
    """
    live, scaled = str(facts.edge.colour), wanted.of("web", "worker")
    less = () if undo else lacking(wanted, live, facts)
    surplus = [c for s in scaled for c in replicas(s.name, facts.of(live))[s.replicas :]]
    keep = tuple(c.name for c in facts.of(live) if c not in surplus)
    steps: list[Step] = [StartColour(live, less), AwaitHealthy(live, less), *await_served(wanted, live, facts)] if less else []
    if {s.name for s in wanted.of("web")} & {*less, *(c.service for c in surplus)}:
        steps += [Switch(live, wanted.id, facts.edge.next, facts.edge.maintenance), Drain(live, facts.edge.generation)]
    names = tuple(dict.fromkeys(c.service for c in surplus))
    return (*settle(facts), *steps, *([StopColour(live, names, keep), RemoveStopped(live, names)] if names else []))


def undone_first(wanted: Release, facts: Facts) -> str | None:
    """Name the release to go back to before anything else: another one is half in service, and there are but two colours."""
    before = next((c.release for c in facts.beside), None)
    return before if wanted.id not in (facts.edge.release, before) else None


def carries(wanted: Release, colour: str, facts: Facts) -> bool:
    """Tell whether the edge names a release alone, all replicas of it, and they and its workers run."""
    return facts.edge.release == wanted.id and not (facts.beside or lacking(wanted, colour, facts))


def lacking(wanted: Release, colour: str, facts: Facts) -> tuple[str, ...]:
    """Name the web services and workers with fewer replicas at work than are wanted: well, and the edge names them."""
    working = [c for c in facts.of(colour) if c.role != "web" or c.name in facts.edge.members]
    return tuple(s.name for s in wanted.of("web", "worker") if well(s, wanted, working) < s.replicas)


def finish(wanted: Release, live: str, facts: Facts, others: Others, *, watch: bool, warm: bool, quieted: bool) -> list[Step]:
    """Do what is left once the edge names the release: nothing, or what an interrupted run did not come to."""
    idle, accepted = other(live), facts.accepted == wanted.id
    left = stop(idle, facts, "worker", "scheduler") if warm and accepted else retire(idle, facts, warm=warm, routed=idle in others.colours)
    able = tuple(s.name for s in wanted.of("web", "worker") if s.deploy.resume)
    steps: list[Step] = [Resume(live, able)] if (left or quieted) and able else []
    steps += [Watch(live, wanted.id)] if left and watch and not accepted else []
    return [*steps, *left, *bring_up(wanted, live, ("scheduler",), facts.of(live))]


def reusable(wanted: Release, idle: str, facts: Facts) -> bool:
    """Tell whether what runs in the idle colour can serve as it is: this release, well, and a drain can be taken back."""
    alive = [c for c in facts.of(idle) if c.alive]
    final = {service.name for service in wanted.services if service.deploy.drain and not service.deploy.resume}
    untouched = all(well(s, wanted, facts.of(idle)) >= s.replicas for s in wanted.of("web", "worker"))
    if not untouched or any(c.alive for c in facts.of(other(idle), "scheduler")):  # it was about to stop, or there would be two
        final |= {service.name for service in wanted.of("scheduler")}
    return bool(alive) and all(c.release == wanted.id and c.up and c.service not in final for c in alive)
