"""In how many turns a release takes over, and which replicas serve in each. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from deploy.core.model import Container, Facts, Release, ReleasedService, Role


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


def turns(
    wanted: Release, roles: tuple[Role, ...], there: Iterable[Container], replaced: Iterable[Container], *, behind: bool = False
) -> list[Turn]:  # fmt: skip
    """Divide a release into turns; one will do where nothing is replaced, and what an interrupted run has done is left out.

    With hosts `behind` one edge there is one turn: one switch moves all of them.
    """
    services, there = wanted.of(*roles), tuple(there)
    most = max((service.replicas for service in services), default=0) or 1
    if behind or wanted.strategy != "rolling" or not any(c.alive for c in replaced):
        return [Turn(most)]
    ahead = [n for n in range(1, most) if any(min(n, s.replicas) > well(s, wanted, there) for s in services)]
    return [Turn(n, before, n == most) for before, n in pairwise([0, *ahead, most])]


def staying(wanted: Release, former: str, facts: Facts, roles: Iterable[Role], turn: Turn) -> tuple[str, ...]:
    """Name the old replicas that go on: as many as the new ones of this turn still lack."""
    left: list[str] = []
    for service in wanted.of(*roles):
        alive = [c.name for c in facts.of(former) if c.service == service.name and c.alive]
        left += alive[max(len(alive) - max(service.replicas - turn.upto, 0), 0) :]
    return tuple(left)


def well(service: ReleasedService, wanted: Release, there: Iterable[Container]) -> int:
    """Count the replicas of a service that run well and are of this release."""
    return sum(c.service == service.name and c.release == wanted.id and c.up for c in there)


def replicas(service: str, there: Iterable[Container]) -> list[Container]:
    """Return the containers of a service, those that run first: the edge names the first of them."""
    return sorted((c for c in there if c.service == service), key=lambda c: (not c.alive, c.number))
