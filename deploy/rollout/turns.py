"""In how many turns a release takes over, and which replicas serve in each. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deploy.core.facts import Container, Facts
from deploy.core.model import Release, ReleasedService, Role


@dataclass(frozen=True)
class Turn:
    """One turn: up to how many replicas of each service it brings, and how many the turn before had brought."""

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


Divide = Callable[[int, Sequence[int]], list[Turn]]  # of the most replicas, and the numbers that would bring some


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
    desired: Release, roles: tuple[Role, ...], there: Iterable[Container], replaced: Iterable[Container], *,
    behind: bool = False,
) -> list[Turn]:  # fmt: skip
    """Divide a release into turns; one where nothing is replaced, and what an interrupted run has done is left out.

    With hosts `behind` one edge there is one turn: one switch moves all of them.
    """
    services, there = desired.of(*roles), tuple(there)
    most = max((service.replicas for service in services), default=0) or 1
    if behind or not any(c.alive for c in replaced):
        return at_once(most, ())
    ahead = [n for n in range(1, most) if any(min(n, s.replicas) > well(s, desired, there) for s in services)]
    return pace_of(desired.strategy).divide(most, ahead)


def staying(desired: Release, former: str, facts: Facts, roles: Iterable[Role], turn: Turn) -> tuple[str, ...]:
    """Name the old replicas that go on: as many as the new ones of this turn still lack."""
    left: list[str] = []
    for service in desired.of(*roles):
        alive = [c.name for c in facts.of(former) if c.service == service.name and c.alive]
        left += alive[max(len(alive) - max(service.replicas - turn.upto, 0), 0) :]
    return tuple(left)


def well(service: ReleasedService, desired: Release, there: Iterable[Container]) -> int:
    """Count the replicas of a service that run well and are of this release."""
    return sum(c.service == service.name and c.release == desired.id and c.up for c in there)


def replicas(service: str, there: Iterable[Container]) -> list[Container]:
    """Return the containers of a service, those that run first: the edge names the first of them."""
    return sorted((c for c in there if c.service == service), key=lambda c: (not c.alive, c.number))
