"""What a release is, and what is observed on a host."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

LABEL = "bookreader-ops"
MADE_OF = f"{LABEL}.made-of"
BLOCK = f"{LABEL}.x-deploy"  # on each container of a colour: its service's block, for when release.json is gone
COLOURS = ("blue", "green")
# on a host behind another's edge a colour's containers have these ports: the port inside, and so many more
COLOUR_PORT_OFFSET = {"blue": 10_000, "green": 20_000}
VERSION = 1  # the format of what this toolkit keeps on disk; docs/decisions/0022
# the frame of an edge whose configuration an older toolkit has written: frame and routes in one file
WHOLE = "whole"
AS_IT_IS = "as it is"  # the strategy of a release that was put together from its containers
Role = Literal[
    "web", "worker", "scheduler", "job", "data", "wal", "edge", "monitoring", "backup", "notify", "certificates",
]  # fmt: skip
SHARED: tuple[Role, ...] = (
    "data",
    "wal",
    "edge",
    "monitoring",
)  # of no colour: a deploy starts what is missing, and touches nothing that runs
# of no colour either, and run for one command at a time
ON_DEMAND: tuple[Role, ...] = ("backup", "notify", "certificates")
# the least and the most containers that a service of a role has at once; all others have one
REPLICAS: Mapping[str, tuple[int, int]] = {"web": (1, 50), "worker": (0, 50)}


class Frozen(BaseModel):
    """A part of what is kept on disk as JSON; keys that a newer toolkit has added stay with it."""

    model_config = ConfigDict(frozen=True, extra="allow")


class Kept(Frozen):
    """A whole document that is kept: the format that wrote it, and the least that its reader must know.

    A document without a version is of format 0, as `deploy.state.kept` reads it.
    """

    version: int = VERSION
    needs: int = 0


def must(fits: Callable[[Any], object], words: str) -> AfterValidator:
    """Refuse a value that does not fit, or of which `fits` raises ValueError, and say in words what it must be."""

    def checked(value: Any) -> Any:
        with suppress(ValueError):
            if fits(value):
                return value
        raise ValueError(words)

    return AfterValidator(checked)


UrlPath = Annotated[str, must(lambda path: path.startswith("/"), "it must begin with /")]


class Deploy(Frozen):
    """An x-deploy block: what the toolkit must know of a service that Compose has no word for."""

    role: Role
    port: int | None = Field(default=None, gt=0, lt=65536, description="TCP port inside the container")
    health: UrlPath = "/health"
    version: UrlPath | None = None
    drain: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    migrate: tuple[str, ...] = ()
    migrations: tuple[str, ...] = ()
    run: Literal["before_switch"] | None = None
    on_rollback: bool = False
    smoke: tuple[str, ...] = ()
    backup: Literal["dump", "none"] | None = None


def written_block(block: object) -> Deploy:
    """Read an x-deploy block that a person wrote; raise ValidationError for a key that is none."""
    return Deploy.model_validate(block, extra="forbid")


def block_of(text: str) -> Deploy | None:
    """Read an x-deploy block from a label; None for one that is not there or cannot be read."""
    try:
        return Deploy.model_validate_json(text)
    except ValidationError:
        return None


class ReleasedService(Frozen):
    """One service of a release, as its bundle remembers it."""

    name: str
    image: str
    deploy: Deploy
    replicas: int = 1
    behind: tuple[str, ...] = ()  # addresses of other hosts that run it too, behind the edge of this one

    @property
    def role(self) -> Role:
        """What the service is for."""
        return self.deploy.role

    def behind_at(self, colour: str) -> tuple[str, ...]:
        """Return where a colour of it is on other hosts: `address:port`."""
        return tuple(f"{address}:{(self.deploy.port or 80) + COLOUR_PORT_OFFSET[colour]}" for address in self.behind)


class Release(Kept):
    """What runs, or should: code, images, configuration and secrets by their fingerprints."""

    id: str
    revision: str
    commit: str
    commit_time: str
    images: dict[str, str]
    config_digests: dict[str, str]
    files: str
    secrets: str
    strategy: str
    services: tuple[ReleasedService, ...]
    resources: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()

    def of(self, *roles: Role) -> tuple[ReleasedService, ...]:
        """Return the services with one of these roles."""
        return tuple(service for service in self.services if service.role in roles)

    def scaled(self, replicas: Mapping[str, int]) -> Release:
        """Return the release with these numbers of replicas in place of its own, where its services can have them."""
        chosen = {
            s.name: replicas[s.name]
            for s in self.services
            if s.name in replicas and not replicas_unfit(s.role, replicas[s.name])
        }
        services = tuple(s.model_copy(update={"replicas": chosen.get(s.name, s.replicas)}) for s in self.services)
        return self.model_copy(update={"services": services})

    @property
    def as_it_is(self) -> bool:
        """Whether its containers are all that there is of it: they can be started, and no others made."""
        return self.strategy == AS_IT_IS

    @property
    def migrating(self) -> ReleasedService | None:
        """The service whose image migrates the database."""
        return next((service for service in self.services if service.deploy.migrate), None)

    @property
    def listing(self) -> ReleasedService | None:
        """The service whose image prints the migrations that its code knows."""
        return next((service for service in self.services if service.deploy.migrations), None)


class Migration(Frozen):
    """One migration that the database has, whether older code works on it, and the revision it came with."""

    name: str
    compatible: bool = False
    since: str


class Schema(Kept):
    """The database's revision, and the code's revisions that can work on it.

    `migrations` are those that the database has, in the order in which they came, where the app's code prints its own.
    """

    revision: str
    serves: tuple[str, ...]
    release: str
    migrations: tuple[Migration, ...] = ()


class Scale(Kept):
    """The numbers of replicas that were chosen in place of the compose file's."""

    replicas: dict[str, int]


class Revoked(Kept):
    """The values of secrets that must not come back, by key, as fingerprints."""

    values: dict[str, tuple[str, ...]]


class Digests(Frozen):
    """An image by what its manifest and its configuration hash to; engines keep one or the other."""

    digest: str
    config: str


class Pushed(Kept):
    """The images of one git revision that a host was given, by the names that compose files use."""

    images: dict[str, Digests]

    @model_validator(mode="before")
    @classmethod
    def _read_format_0(cls, document: Any) -> Any:
        if isinstance(document, dict) and document.get("version") == 0:
            return {"version": 0, "images": {name: image for name, image in document.items() if name != "version"}}
        return document


class Record(Kept):
    """One line of the ledger: what was tried, when, by whom, and with what outcome."""

    release: str
    revision: str
    command: str
    outcome: str
    colour: str
    generation: int
    schema_revision: str | None
    who: str
    started: str
    seconds: float
    commit_time: str
    frame: str = WHOLE  # what the edge's frame hashes to; empty where there is no edge
    watch: str = ""  # what judged it, where that was not the edge's log: "probed", or "unknown" where nothing could
    schema_fits: str = ""  # why `who` said that the schema fits, which nothing else could say
    unscanned: str = ""  # why `who` deployed images without a PASS of a scan, where that is needed


def release_id(revision: str, *parts: Mapping[str, str] | str) -> str:
    """Name a release by its revision and a hash of everything that makes it what it is."""
    text = "\n".join(part if isinstance(part, str) else repr(sorted(part.items())) for part in parts)
    return f"{revision}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def replicas_unfit(role: str, number: int) -> str:
    """Say why a service of this role cannot have so many replicas; empty when it can."""
    least, most = REPLICAS.get(role, (1, 1))
    return (
        ""
        if least <= number <= most
        else f"{number} replicas; a {role} has {least}" + (f" to {most}" if most > least else "")
    )


def upstream_name(service: str, colour: str) -> str:
    """Return what the edge calls a service in one colour."""
    return f"{service}_{colour}"


def other(colour: str | None) -> str:
    """Return the colour that is idle while this one serves."""
    return COLOURS[1] if colour == COLOURS[0] else COLOURS[0]


@dataclass(frozen=True)
class Revision:
    """One revision as Alembic shows it: its parent, whether the database is at it, whether it takes something away."""

    id: str
    parent: str
    current: bool
    contract: bool
    head: bool = False  # nothing follows it
    merges: tuple[str, ...] = ()  # its parents, where it has several
    path: str = ""  # its file in the image


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
