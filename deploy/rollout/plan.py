"""From what is desired and what is observed to the steps between. Pure: the same inputs, the same plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from deploy.core.facts import Container, Facts
from deploy.core.model import COLOURS, WHOLE, Release, ReleasedService, Role, other
from deploy.rollout.pieces import (
    await_tasks,
    bring_up,
    migrate,
    of_roles,
    quiet_workers,
    record_migrations,
    recreate_shared,
    retire,
    run_jobs,
    settle,
    start_shared,
    stop,
)
from deploy.rollout.steps import (
    AwaitEdgeSwitch,
    AwaitHealthy,
    AwaitServed,
    Prune,
    RegisterColour,
    Resume,
    StartColour,
    Step,
    Switch,
    Watch,
)
from deploy.rollout.turns import count_healthy, replicas_to_keep, turns


@dataclass(frozen=True)
class Plan:
    """The steps towards a release; none when it already serves."""

    release: Release
    colour: str
    generation: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class FleetFacts:
    """What the plan of one host must know of all of them."""

    lacking: bool = False  # behind one edge, some host has fewer replicas of what serves than are desired
    colours: frozenset[str] = frozenset()  # those of which web services run on hosts behind the edge
    data: frozenset[str] = frozenset()  # the data services that run, on whatever host


ONE_HOST = FleetFacts()


@dataclass(frozen=True)
class Transition:
    """One host's way from what was observed on it to a desired release."""

    desired: Release
    facts: Facts
    forward: bool = True  # migrate and watch; going back does neither, and keeps workers until their own tasks are done
    watch: bool = True  # compare the release with the one before under real traffic
    warm: bool = False  # the old colour's web services run on
    recreate: Sequence[str] = ()  # shared services
    expired: Sequence[str] = ()  # releases to forget at the end
    fleet: FleetFacts = ONE_HOST
    serving: Release | None = (
        None  # the release that serves: it may have workers that the desired one does not have here
    )
    quieted: bool = False  # workers may have been paused, and are resumed
    frame: str = ""  # what the edge's frame is to hash to; going back it is the one that was accepted

    def plan(self) -> Plan:
        """Plan the steps; none where the release serves already."""
        return self.stay() if self.stays else self.take_over()

    @property
    def stays(self) -> bool:
        """Tell whether the live colour goes on: it has the release, and no host behind the edge lacks part of it."""
        live = self.facts.edge.colour
        if not live or self.fleet.lacking:
            return False
        # one that was put together from its containers has none in the other colour
        only_here = self.desired.reconstructed and self.facts.edge.release == self.desired.id and not self.facts.mixed
        return only_here or carries(self.desired, live, self.facts)

    @property
    def next_frame(self) -> str:
        """The frame that a switch brings along; empty where it stands already."""
        return changed_frame(self.desired, self.facts, self.frame if self.forward else self.facts.frame)

    @property
    def watched(self) -> bool:
        """Tell whether a switch is watched: going forward, where visitors are let in and leave something to watch."""
        watch = self.forward and self.watch and not self.facts.edge.maintenance
        return watch and watchable(self.desired, self.facts)

    @property
    def workers(self) -> tuple[ReleasedService, ...]:
        """The workers that may run: of the desired release, and of the one that serves."""
        releases = filter(None, (self.serving, self.desired))
        return tuple({service.name: service for release in releases for service in release.of("worker")}.values())

    def prepare(self) -> list[Step]:
        """End what an interrupted run left half done; have what colours share running."""
        data_elsewhere = () if self.forward else self.fleet.data
        shared = start_shared(self.desired, self.facts, data_elsewhere, self.recreate, forward=self.forward)
        return [*settle(self.facts), *shared, *recreate_shared(self.recreate, self.facts)]

    def stay(self) -> Plan:
        """Complete the live colour, bring along another frame, and finish what an interrupted run did not come to."""
        desired, facts, live = self.desired, self.facts, str(self.facts.edge.colour)
        steps, generation = self.prepare(), facts.edge.generation
        if less := lacking(desired, live, facts):
            steps += [StartColour(live, less), AwaitHealthy(live, less)]
        if self.next_frame and facts.edge.frame not in ("", WHOLE):
            generation = facts.edge.next
            steps += [switch(live, desired.id, generation, facts, frame=self.next_frame)]
            steps += [Watch(live, desired.id)] if self.watched else []
        steps += self.finish(live)
        return Plan(desired, live, generation, tuple(steps))

    def finish(self, live: str) -> list[Step]:
        """Do what is left once the edge names the release: nothing, or what an interrupted run did not come to."""
        desired, facts, idle = self.desired, self.facts, other(live)
        accepted = facts.accepted == desired.id
        if self.warm and accepted:
            left = stop(idle, facts, "worker", "scheduler")
        else:
            left = retire(idle, facts, warm=self.warm, routed=idle in self.fleet.colours)
        resumable = tuple(s.name for s in desired.of("web", "worker") if s.deploy.resume)
        steps: list[Step] = [Resume(live, resumable)] if (left or self.quieted) and resumable else []
        steps += [Watch(live, desired.id)] if left and self.forward and self.watch and not accepted else []
        return [*steps, *left, *bring_up(desired, live, ("scheduler",), facts.of(live))]

    def take_over(self) -> Plan:
        """Bring the idle colour up next to the live one, switch, drain, stop."""
        desired, facts, forward, live = self.desired, self.facts, self.forward, self.facts.edge.colour
        half_in_service = bool(facts.mixed) and facts.edge.release == desired.id
        new = live if live and half_in_service else other(live)
        # also where no edge serves: it may have been elsewhere before, or have lost its configuration
        former = other(new)
        usable = bool(facts.mixed) or reusable(desired, new, facts)
        existing = facts.of(new) if usable else ()
        steps = self.prepare()
        if facts.mixed and former == live:  # back from half in service: replicas of it that never served go first
            steps += stop(former, facts, "web", keep=facts.edge.members)
            facts = replace(facts, containers=tuple(c for c in facts.containers if c not in unnamed(former, facts)))
        steps += [] if usable else retire(new, facts, routed=new in self.fleet.colours)
        steps += migrate(desired, new) if forward else []
        steps += [] if usable else run_jobs(desired, new, forward=forward)
        steps += record_migrations(desired, new) if forward else []
        in_turns, generation = self.switch_in_turns(new, facts, existing)
        steps += in_turns
        if not forward:
            steps += await_tasks(self.workers, former, facts)
            steps += hand_back(desired, new, former, facts, existing)
        steps += bring_up(desired, new, ("scheduler",), existing)
        steps += [Prune(tuple(self.expired))] if self.expired else []
        return Plan(desired, new, generation, tuple(steps))

    def switch_in_turns(self, new: str, facts: Facts, existing: Sequence[Container]) -> tuple[list[Step], int]:
        """Plan the turns in which a colour takes over; return the edge's generation after the last, too.

        Blue-green takes one turn. Rolling takes a turn for each replica: of each service one more serves in the new
        colour, one less in the former.
        """
        desired, forward, former = self.desired, self.forward, other(new)
        roles: tuple[Role, ...] = ("web", "worker") if forward else ("web",)
        register = register_colour(desired, new, facts)
        before, generation, first = facts.edge.generation, facts.edge.next, facts.edge.next + len(register)
        all_turns = turns(desired, roles, existing, facts.of(former, "web"), behind=shares_edge(desired, facts))
        steps: list[Step] = []
        for generation, turn in enumerate(all_turns, first):
            keep = replicas_to_keep(desired, former, facts, roles, turn)
            mixed = of_roles(keep, facts, "web")
            steps += [*bring_up(desired, new, roles, existing, turn), *(register if turn.first else ())]
            steps += await_served(desired, new, facts)
            steps += quiet_workers(self.workers, former, facts) if forward and turn.first else []
            steps += [switch(new, desired.id, generation, facts, mixed, self.next_frame)]
            steps += [Watch(new, desired.id, mixed)] if self.watched and (turn.first or turn.last) else []
            ending = [*roles, *(("job", "scheduler") if turn.last else ())]
            routed = former in self.fleet.colours
            steps += retire(former, facts, ending, warm=self.warm, keep=keep, since=before, routed=routed)
            before = generation
        return steps, generation


def unnamed(colour: str, facts: Facts) -> tuple[Container, ...]:
    """Return the web replicas of a colour that the edge does not name."""
    return tuple(c for c in facts.of(colour, "web") if c not in facts.named)


def hand_back(desired: Release, new: str, former: str, facts: Facts, existing: Iterable[Container]) -> list[Step]:
    """Let the earlier release's workers take over from the later one's."""
    steps: list[Step] = []
    replaced = facts.of(former, "worker")
    for turn in turns(desired, ("worker",), existing, replaced, behind=shares_edge(desired, facts)):
        keep = replicas_to_keep(desired, former, facts, ("worker",), turn)
        steps += [*bring_up(desired, new, ("worker",), existing, turn), *stop(former, facts, "worker", keep=keep)]
    return steps


def shares_edge(desired: Release, facts: Facts) -> bool:
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
    previous: Release | None, facts: Facts, fleet: FleetFacts = ONE_HOST, serving: Release | None = None, *,
    quieted: bool = True, recreate: Sequence[str] = (),
) -> tuple[Step, ...]:  # fmt: skip
    """Plan the way back: to the release that served before, or to nothing if there was none."""
    if previous:
        way = Transition(
            previous, facts, forward=False, fleet=fleet, serving=serving, quieted=quieted, recreate=recreate
        )
        return way.plan().steps
    named = facts.edge.colour and not facts.edge.front
    unroute = [switch(None, None, facts.edge.next, facts)] if named else []
    return (*settle(facts), *unroute, *(step for colour in COLOURS for step in stop(colour, facts)))


def reverted_first(desired: Release, facts: Facts) -> str | None:
    """Name the release to go back to first: another one is half in service, and there are but two colours."""
    before = next((c.release for c in facts.mixed), None)
    return before if desired.id not in (facts.edge.release, before) else None


def carries(desired: Release, colour: str, facts: Facts) -> bool:
    """Tell whether the edge names a release alone, all replicas of it, and they and its workers run."""
    return facts.edge.release == desired.id and not (facts.mixed or lacking(desired, colour, facts))


def lacking(desired: Release, colour: str, facts: Facts) -> tuple[str, ...]:
    """Name web services and workers with too few healthy replicas; of web services those that the edge names count."""
    working = [c for c in facts.of(colour) if c.role != "web" or c.name in facts.edge.members]
    return tuple(s.name for s in desired.of("web", "worker") if count_healthy(s, desired, working) < s.replicas)


def reusable(desired: Release, idle: str, facts: Facts) -> bool:
    """Tell whether what runs in the idle colour can serve as it is: this release, healthy, not drained for good."""
    alive = [c for c in facts.of(idle) if c.alive]
    complete = all(count_healthy(s, desired, facts.of(idle)) >= s.replicas for s in desired.of("web", "worker"))
    unusable = {service.name for service in desired.services if service.deploy.drain and not service.deploy.resume}
    # a scheduler among incomplete services was about to stop; with one in the other colour there would be two
    if not complete or any(c.alive for c in facts.of(other(idle), "scheduler")):
        unusable |= {service.name for service in desired.of("scheduler")}
    return bool(alive) and all(c.release == desired.id and c.up and c.service not in unusable for c in alive)
