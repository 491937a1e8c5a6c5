"""What a release is, and what is kept of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
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
RECONSTRUCTED = "as it is"  # the strategy of a release that was put together from its containers
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
    sends: str | None = None
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
    sums: str = ""  # SHA-256 of the release's SHA256SUMS; empty where an older toolkit kept it

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
    def reconstructed(self) -> bool:
        """Whether its containers are all that there is of it: they can be started, and no others made."""
        return self.strategy == RECONSTRUCTED

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
