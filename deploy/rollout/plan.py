"""From what is desired and what is observed to the steps between. Pure: the same inputs, the same plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from deploy.core.facts import Container, Facts
from deploy.core.model import COLOURS, WHOLE, Release, Role, other
from deploy.rollout.pieces import (
    await_tasks,
    bring_up,
    jobs,
    migration,
    only,
    quiet,
    recording,
    recreate_shared,
    retire,
    settle,
    start_shared,
    stop,
)
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
class Together:
    """What hosts have together: whether one behind the edge lacks part of what serves, the colours there, all data."""

    lacking: bool = False
    colours: frozenset[str] = frozenset()
    data: frozenset[str] = frozenset()


ALONE = Together()


def towards(
    desired: Release, facts: Facts, *, forward: bool = True, watch: bool = True, warm: bool = False,
    recreate: Iterable[str] = (), old: Iterable[str] = (), together: Together = ALONE, leaving: Release | None = None,
    quieted: bool = False, frame: str = "",
) -> Plan:  # fmt: skip
    """Plan a release into service: bring the idle colour up beside the live one, switch, drain, stop.

    Blue-green does so in one turn. Rolling takes a turn for each replica: of each service one more serves in the new
    colour, one less in the old.

    Going `forward` migrates and, with `watch`, watches. Going back does neither, and keeps the workers until the tasks
    that only they know are done. With `warm` the old colour's web services run on. `recreate` are shared services to
    recreate, `old` releases to forget at the end. `together` is what the hosts have: where one behind the same edge
    lacks some of what serves, all go to the other colour, and what runs there stops once the edge has let go of it; on
    the way back no data is started that another host runs. `leaving` is the release that serves: it knows how to talk
    to workers that the desired one does not have here. Where some may have been `quieted`, they are told to go on.
    `frame` is what the edge's frame is to hash to; going back it is the one that was accepted.
    """
    live, recreate = facts.edge.colour, tuple(recreate)
    frame = changed_frame(desired, facts, frame if forward else facts.frame)
    watched = forward and watch and not facts.edge.maintenance and watchable(desired, facts)
    shared = start_shared(desired, facts, () if forward else together.data, recreate, forward=forward)
    steps = [*settle(facts), *shared, *recreate_shared(recreate, facts)]
    # one that was put together from its containers has none in the other colour
    stays = desired.as_it_is and facts.edge.release == desired.id and not facts.mixed
    if live and not together.lacking and (stays or carries(desired, live, facts)):
        less = lacking(desired, live, facts)
        steps += [StartColour(live, less), AwaitHealthy(live, less)] if less else []
        reframed = frame and facts.edge.frame not in ("", WHOLE)
        generation = facts.edge.next if reframed else facts.edge.generation
        steps += [switch(live, desired.id, generation, facts, frame=frame)] if reframed else []
        steps += [Watch(live, desired.id)] if reframed and watched else []
        steps += finish(desired, live, facts, together, watch=forward and watch, warm=warm, quieted=quieted)
        return Plan(desired, live, generation, tuple(steps))
    new = live if live and facts.mixed and facts.edge.release == desired.id else other(live)  # half in service goes on
    workers = {service.name: service for one in (leaving, desired) if one for service in one.of("worker")}.values()
    former = other(new)  # also where no edge serves: it may have been elsewhere before, or have lost its configuration
    usable = bool(facts.mixed) or reusable(desired, new, facts)
    there = facts.of(new) if usable else ()
    if facts.mixed and former == live:  # back from half in service: replicas of it that never served go first
        steps += stop(former, facts, "web", keep=facts.edge.members)
        facts = replace(facts, containers=tuple(c for c in facts.containers if c not in unnamed(former, facts)))
    steps += [] if usable else retire(new, facts, routed=new in together.colours)
    steps += migration(desired, new) if forward else []
    steps += [] if usable else jobs(desired, new, forward=forward)
    steps += recording(desired, new) if forward else []
    roles: tuple[Role, ...] = ("web", "worker") if forward else ("web",)
    register = register_colour(desired, new, facts)
    generation, since, first = facts.edge.next, facts.edge.generation, facts.edge.next + len(register)
    parts = turns(desired, roles, there, facts.of(former, "web"), behind=tied(desired, facts))
    for generation, turn in enumerate(parts, first):
        keep = staying(desired, former, facts, roles, turn)
        mixed = only(keep, facts, "web")
        steps += [*bring_up(desired, new, roles, there, turn), *(register if turn.first else ())]
        steps += await_served(desired, new, facts)
        steps += quiet(workers, former, facts) if forward and turn.first else []
        steps += [switch(new, desired.id, generation, facts, mixed, frame)]
        steps += [Watch(new, desired.id, mixed)] if watched and (turn.first or turn.last) else []
        ending = [*roles, *(("job", "scheduler") if turn.last else ())]
        routed = former in together.colours
        steps += retire(former, facts, ending, warm=warm, keep=keep, since=since, routed=routed)
        since = generation
    steps += [] if forward else [*await_tasks(workers, former, facts), *hand_back(desired, new, former, facts, there)]
    steps += bring_up(desired, new, ("scheduler",), there)
    steps += [Prune(tuple(old))] if tuple(old) else []
    return Plan(desired, new, generation, tuple(steps))


def unnamed(colour: str, facts: Facts) -> tuple[Container, ...]:
    """Return the web replicas of a colour that the edge does not name."""
    return tuple(c for c in facts.of(colour, "web") if c not in facts.named)


def hand_back(desired: Release, new: str, former: str, facts: Facts, there: Iterable[Container]) -> list[Step]:
    """Let the earlier release's workers take over from the later one's."""
    steps: list[Step] = []
    for turn in turns(desired, ("worker",), there, facts.of(former, "worker"), behind=tied(desired, facts)):
        keep = staying(desired, former, facts, ("worker",), turn)
        steps += [*bring_up(desired, new, ("worker",), there, turn), *stop(former, facts, "worker", keep=keep)]
    return steps


def tied(desired: Release, facts: Facts) -> bool:
    """Tell whether one edge serves what is on several hosts, this one among them."""
    return bool(facts.edge.front) or any(service.behind for service in desired.of("web"))


def changed_frame(desired: Release, facts: Facts, frame: str) -> str:
    """Return the frame that a switch brings along; none where it stands already, or at an edge's first start."""
    return frame if desired.of("edge") and facts.edge.generation and frame != facts.edge.frame else ""


def switch(
    colour: str | None, release: str | None, generation: int, facts: Facts, mixed: tuple[str, ...] = (),
    frame: str = "",
) -> Step:  # fmt: skip
    """Plan the switch; on a host behind another's edge, to see that it was made there."""
    if facts.edge.front:
        return AwaitEdgeSwitch(facts.edge.front, colour, release)
    return Switch(colour, release, generation, bool(colour) and facts.edge.maintenance, mixed, frame)


def await_served(desired: Release, colour: str, facts: Facts) -> list[Step]:
    """Ask through the edge, where it is."""
    return [AwaitServed(colour)] if desired.of("web") and not facts.edge.front else []


def register_colour(desired: Release, colour: str, facts: Facts) -> list[Step]:
    """Register what the edge does not reach yet: a service is new, or has another name, port or host."""
    absent = tuple(s.name for s in desired.of("web") if not facts.edge.reaches(s, colour))
    here = facts.edge.upstreams and not facts.edge.front  # not written down before a first start, and by older versions
    return [RegisterColour(colour, absent, facts.edge.next)] if here and absent else []


def watchable(desired: Release, facts: Facts) -> bool:
    """Tell whether there is something to watch: what the edge's log says, where it is, and failed tasks."""
    if facts.edge.front:
        return any(s.deploy.failed for s in desired.of("worker"))
    return bool(desired.of("web", "worker"))


def back(
    previous: Release | None, facts: Facts, together: Together = ALONE, leaving: Release | None = None, *,
    quieted: bool = True, recreate: Iterable[str] = (),
) -> tuple[Step, ...]:  # fmt: skip
    """Plan the way back: to the release that served before, or to nothing if there was none."""
    if previous:
        plan = towards(
            previous,
            facts,
            forward=False,
            together=together,
            leaving=leaving,
            quieted=quieted,
            recreate=recreate,
        )
        return plan.steps
    named = facts.edge.colour and not facts.edge.front
    unroute = [switch(None, None, facts.edge.next, facts)] if named else []
    return (*settle(facts), *unroute, *(step for colour in COLOURS for step in stop(colour, facts)))


def rescale(desired: Release, facts: Facts, *, undo: bool = False) -> tuple[Step, ...]:
    """Plan other numbers of replicas of what serves: new ones run before the edge names them, others stop after.

    To `undo` only takes away, whatever else is unwell.
    """
    live, scaled, edge = str(facts.edge.colour), desired.of("web", "worker"), facts.edge
    less = () if undo else lacking(desired, live, facts)
    surplus = [c for s in scaled for c in replicas(s.name, facts.of(live))[s.replicas :]]
    keep = tuple(c.name for c in facts.of(live) if c not in surplus)
    names = tuple(dict.fromkeys(c.service for c in surplus))
    steps: list[Step] = settle(facts)
    steps += [StartColour(live, less), AwaitHealthy(live, less), *await_served(desired, live, facts)] if less else []
    if {s.name for s in desired.of("web")} & {*less, *names}:
        steps += [Switch(live, desired.id, edge.next, edge.maintenance), Drain(live, edge.generation)]
    return (*steps, *([StopColour(live, names, keep), RemoveStopped(live, names)] if names else []))


def reverted_first(desired: Release, facts: Facts) -> str | None:
    """Name the release to go back to first: another one is half in service, and there are but two colours."""
    before = next((c.release for c in facts.mixed), None)
    return before if desired.id not in (facts.edge.release, before) else None


def carries(desired: Release, colour: str, facts: Facts) -> bool:
    """Tell whether the edge names a release alone, all replicas of it, and they and its workers run."""
    return facts.edge.release == desired.id and not (facts.mixed or lacking(desired, colour, facts))


def lacking(desired: Release, colour: str, facts: Facts) -> tuple[str, ...]:
    """Name the web services and workers with fewer replicas at work than are desired: well, and the edge names them."""
    working = [c for c in facts.of(colour) if c.role != "web" or c.name in facts.edge.members]
    return tuple(s.name for s in desired.of("web", "worker") if well(s, desired, working) < s.replicas)


def finish(
    desired: Release, live: str, facts: Facts, together: Together, *, watch: bool, warm: bool, quieted: bool
) -> list[Step]:  # fmt: skip
    """Do what is left once the edge names the release: nothing, or what an interrupted run did not come to."""
    idle, accepted = other(live), facts.accepted == desired.id
    if warm and accepted:
        left = stop(idle, facts, "worker", "scheduler")
    else:
        left = retire(idle, facts, warm=warm, routed=idle in together.colours)
    able = tuple(s.name for s in desired.of("web", "worker") if s.deploy.resume)
    steps: list[Step] = [Resume(live, able)] if (left or quieted) and able else []
    steps += [Watch(live, desired.id)] if left and watch and not accepted else []
    return [*steps, *left, *bring_up(desired, live, ("scheduler",), facts.of(live))]


def reusable(desired: Release, idle: str, facts: Facts) -> bool:
    """Tell whether what runs in the idle colour can serve as it is: this release, well, no drain that stays."""
    alive = [c for c in facts.of(idle) if c.alive]
    final = {service.name for service in desired.services if service.deploy.drain and not service.deploy.resume}
    untouched = all(well(s, desired, facts.of(idle)) >= s.replicas for s in desired.of("web", "worker"))
    # it was about to stop, or there would be two
    if not untouched or any(c.alive for c in facts.of(other(idle), "scheduler")):
        final |= {service.name for service in desired.of("scheduler")}
    return bool(alive) and all(c.release == desired.id and c.up and c.service not in final for c in alive)
