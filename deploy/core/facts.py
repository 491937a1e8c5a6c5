"""What is observed on a host: its containers, and what its edge serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.core.model import SHARED, Deploy, ReleasedService, Schema, upstream_name


@dataclass(frozen=True)
class Container:
    """One container of this environment, as the engine shows it."""

    name: str
    service: str
    role: str
    colour: str
    release: str
    state: str
    health: str
    image: str
    restarts: int = 0
    exit_code: int = 0
    made_of: str = ""  # a hash; shared services have it
    out_of_memory: bool = False  # a process in it was killed at its memory limit since it started
    number: int = 1  # which replica of its service it is
    addresses: tuple[str, ...] = ()  # on its networks, while it runs
    networks: tuple[str, ...] = ()
    mounts: tuple[tuple[str, str], ...] = ()  # what is mounted, a volume's name or a folder of the host, and where
    started: str = ""  # when it was started last
    deploy: Deploy | None = None  # its service's x-deploy block; None where no label has it

    @property
    def up(self) -> bool:
        """Tell whether it runs and nothing says that it is unwell."""
        return self.state == "running" and self.health in ("", "healthy")

    @property
    def alive(self) -> bool:
        """Tell whether it works, or will again without being told to."""
        return self.state in ("running", "restarting", "paused")

    @property
    def broken(self) -> bool:
        """Tell whether it ended, is being started again, or is unwell."""
        return self.state in ("exited", "dead", "restarting") or self.health == "unhealthy"


@dataclass(frozen=True)
class EdgeFacts:
    """What the edge serves: asked of it, or read from its folder while it is down."""

    running: bool = False
    generation: int = 0
    colour: str | None = None
    release: str | None = None
    maintenance: bool = False
    members: tuple[str, ...] = ()  # the containers that it named when it was switched
    expected: bool = True  # a host of workers or data has none
    front: str = ""  # the other host whose edge this is, where one serves all
    unproven: int = 0  # a generation that the link names and that was never proven; an interrupted switch left it
    upstreams: Mapping[str, tuple[str, ...]] = field(
        default_factory=dict
    )  # name -> `host:port`; empty where it is not written down
    frame: str = ""  # what its frame hashes to; empty where that is not written down
    forgotten: bool = False  # it runs on, and the folder that it was configured from is gone

    def reaches(self, service: ReleasedService, colour: str) -> bool:
        """Tell whether the edge has an upstream for a service in one colour, with all its servers."""
        servers = self.upstreams.get(upstream_name(service.name, colour), ())
        here = not service.replicas or any(server.endswith(f":{service.deploy.port or 80}") for server in servers)
        return here and set(service.behind_at(colour)) <= set(servers)

    @property
    def next(self) -> int:
        """The number of the generation that comes next."""
        return max(self.generation, self.unproven, 1) + 1


@dataclass(frozen=True)
class Facts:
    """What is there now."""

    containers: tuple[Container, ...] = ()
    edge: EdgeFacts = EdgeFacts()
    schema: Schema | None = None
    resources: frozenset[str] = frozenset()
    orphans: tuple[str, ...] = ()  # one-off containers that still run although nobody waits for them
    accepted: str | None = None  # the last release that the ledger calls in service
    unrecorded: bool = (
        False  # a release serves, and no record says whether it was accepted: the ledger is damaged or gone
    )
    frame: str = ""  # that of the edge when that release was accepted; empty where the ledger does not say it

    def of(self, colour: str, *roles: str) -> tuple[Container, ...]:
        """Return the containers of one colour, of all roles or some."""
        return tuple(c for c in self.containers if c.colour == colour and (not roles or c.role in roles))

    @property
    def shared(self) -> dict[str, Container]:
        """Return the shared services that run, by name."""
        return {c.service: c for c in self.containers if c.role in SHARED and c.state == "running"}

    @property
    def shared_existing(self) -> dict[str, Container]:
        """Return the shared services that have a container, by name, in whatever state: one that fails is there."""
        return {c.service: c for c in self.containers if c.role in SHARED} | self.shared

    @property
    def shared_alive(self) -> dict[str, Container]:
        """Return the shared services that run, or that the engine starts again and again."""
        return {name: c for name, c in self.shared_existing.items() if c.alive}

    @property
    def named(self) -> tuple[Container, ...]:
        """Return the containers that the edge names."""
        return tuple(c for c in self.containers if c.name in self.edge.members)

    @property
    def mixed(self) -> tuple[Container, ...]:
        """Return the replicas of the other colour that still serve: a rolling release has not come to them yet."""
        return tuple(c for c in self.named if c.colour != self.edge.colour)

    @property
    def serving(self) -> str:
        """Say what answers requests now."""
        if not self.edge.release:
            return "nothing yet"
        words = f"release {self.edge.release} ({self.edge.colour})"
        words += f", together with {len(self.mixed)} replica(s) of the release before" if self.mixed else ""
        words += ", behind the maintenance page" if self.edge.maintenance else ""
        return words + (", once the edge runs; it does not" if self.edge.expected and not self.edge.running else "")
