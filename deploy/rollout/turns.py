"""In how many turns a release takes over, and which replicas serve in each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deploy.core.facts import Container, Facts
from deploy.core.model import Release, ReleasedService, Role


@dataclass(frozen=True)
class Turn:
    """One turn: how many replicas of each service run after it (`upto`), and how many ran after the turn before."""

    upto: int
    before: int = 0
    last: bool = True

    @property
    def first(self) -> bool:
        """Tell whether no turn came before."""
        return not self.before

    def brings(self, service: ReleasedService, running: int) -> bool:
        """Tell whether a service, of which some replicas are `running`, gets another one in this turn."""
        return min(self.upto, service.replicas) > max(min(self.before, service.replicas), running)


# from the most replicas of a service, and the numbers below it at which some service gets a replica, to turns
Divide = Callable[[int, Sequence[int]], list[Turn]]


@dataclass(frozen=True)
class Pace:
    """How many replicas a strategy brings at a time, and what that adds to what serves meanwhile."""

    divide: Divide
    surge: str
    share: Callable[[int], float]  # of what one colour of so many replicas holds


def at_once(most: int, ahead: Sequence[int]) -> list[Turn]:
    """Bring all replicas in one turn."""
    return [Turn(most)]


def one_by_one(most: int, ahead: Sequence[int]) -> list[Turn]:
    """Take a turn for each number of replicas that brings some."""
    return [Turn(n, before, n == most) for before, n in pairwise([0, *ahead, most])]


BLUE_GREEN = Pace(at_once, "a second colour", lambda _: 1)
PACES = {"rolling": Pace(one_by_one, "one more replica of each service", lambda replicas: 1 / replicas)}


def pace_of(strategy: str) -> Pace:
    """Return the pace of a strategy; a release that was put together from its containers goes over at once."""
    return PACES.get(strategy, BLUE_GREEN)


def turns(
    desired: Release, roles: tuple[Role, ...], existing: Iterable[Container], replaced: Iterable[Container], *,
    behind: bool = False,
) -> list[Turn]:  # fmt: skip
    """Divide a release into turns: those that an interrupted run has done are left out.

    There is one turn where nothing is `replaced`, and with hosts `behind` one edge: one switch moves all of them.
    """
    services, existing = desired.of(*roles), tuple(existing)
    most = max((service.replicas for service in services), default=0) or 1
    if behind or not any(c.alive for c in replaced):
        return at_once(most, ())
    healthy = {service.name: count_healthy(service, desired, existing) for service in services}
    ahead = [n for n in range(1, most) if any(min(n, s.replicas) > healthy[s.name] for s in services)]
    return pace_of(desired.strategy).divide(most, ahead)


def replicas_to_keep(desired: Release, former: str, facts: Facts, roles: Iterable[Role], turn: Turn) -> tuple[str, ...]:
    """Name the old replicas that go on serving: as many as the new release still lacks after this turn."""
    left: list[str] = []
    for service in desired.of(*roles):
        alive = [c.name for c in facts.of(former) if c.service == service.name and c.alive]
        left += alive[max(len(alive) - max(service.replicas - turn.upto, 0), 0) :]
    return tuple(left)


def count_healthy(service: ReleasedService, desired: Release, containers: Iterable[Container]) -> int:
    """Count the replicas of a service that are healthy and of this release."""
    return sum(c.service == service.name and c.release == desired.id and c.up for c in containers)


def replicas(service: str, containers: Iterable[Container]) -> list[Container]:
    """Return the containers of a service, those that run first: the edge names the first of them."""
    return sorted((c for c in containers if c.service == service), key=lambda c: (not c.alive, c.number))
