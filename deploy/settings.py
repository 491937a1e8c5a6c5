"""What an environment is made of: each section with its keys and defaults."""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

ROOT = Path(__file__).resolve().parent.parent


def without_comment(key: str) -> str:
    """Leave out what stands behind a public key, as in a .pub file."""
    return " ".join(key.split()[:2])


def reached(address: str) -> str:
    """Refuse an address at which other hosts do not reach one; empty is none."""
    if address and ((known := IPv4Address(address)).is_unspecified or known.is_loopback or known.is_multicast):
        raise ValueError("no other host reaches one at this address")
    return address


def named(path: Path) -> Path:
    """Refuse a path that names no file."""
    if path == Path():
        raise ValueError("it names no file")
    return path


def absolute(path: Path) -> Path:
    """Refuse a path that depends on where a command is typed."""
    if not path.is_absolute():
        raise ValueError("it must begin with /")
    return path


Shell = Annotated[str, Field(pattern=r"^[^\x00]*$")]
HostName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
HostKey = Annotated[str, Field(pattern=r"^((ssh|ecdsa)-[a-z0-9-]+ [A-Za-z0-9+/]+=*( .*)?)?$"), AfterValidator(without_comment)]
Account = Annotated[str, Field(pattern=r"^([^\s-]\S*)?$")]
Role = Literal["app", "worker", "edge", "data", "monitoring"]
OWN = ("env", "root")  # said by --env and by where the checkout is


class Section(BaseModel):
    """A part of the settings; a key that it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Edge(Section):
    """Where the edge listens: the public port, and the inner one that only this host reaches."""

    address: str = "127.0.0.1"
    port: int = Field(default=8080, gt=0, lt=65536)
    probe_port: int = Field(default=9180, gt=0, lt=65536)


class Build(Section):
    """How images are built."""

    bases: Literal["auto", "public", "debian"] = "auto"
    cache_from: list[str] = []
    cache_to: list[str] = []
    cache_gb: float = Field(default=10, ge=0)
    extra_ca: Path = Path("/etc/ssl/certs/ca-certificates.crt")
    budget: dict[str, int] = Field(default={}, description="image -> megabytes of uncompressed layers")


class Ship(Section):
    """How images come to hosts: through a registry, over the connection to the host, or not at all."""

    by: Literal["registry", "ssh", "local"] = "local"
    registry: str = Field(default="", pattern=r"^([a-zA-Z0-9.-]+(:\d+)?(/[a-z0-9._/-]+)?)?$")
    user: str = ""
    hosts_at_once: int = Field(default=4, gt=0)

    @model_validator(mode="after")
    def _somewhere(self) -> Ship:
        if self.by == "registry" and not self.registry:
            raise ValueError("by registry needs ship.registry, as in registry.example.org/team")
        return self


class Rollout(Section):
    """How releases change places; times in seconds."""

    strategy: Literal["blue_green", "rolling"] = "blue_green"
    canary: int = Field(default=1, ge=0, description="how many hosts switch first, alone; 0: all at once")
    batch: int = Field(default=0, ge=0, description="how many hosts switch at once after the canary; 0: all that are left")
    on_failure: Literal["unwind", "hold"] = "unwind"
    healthy_within: float = Field(default=60, gt=0)
    served_within: float = Field(default=15, gt=0)
    drain_within: float = Field(default=30, gt=0)
    tasks_within: float = Field(default=300, gt=0)
    watch: float = Field(default=10, ge=0)
    watch_errors: float = Field(default=0.05, ge=0, le=1)
    watch_p95: float = Field(default=2, gt=0)
    watch_failed_tasks: int = Field(default=3, ge=0)
    keep_warm: bool = False
    keep_releases: int = Field(default=5, ge=2)
    free_disk_gb: float = Field(default=2, ge=0)
    free_memory_gb: float = Field(default=0.2, ge=0)

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Rollout:
        if self.keep_warm and self.strategy == "rolling":
            raise ValueError("keep_warm needs strategy blue_green: rolling stops each old replica when a new one serves")
        return self


class Hooks(Section):
    """Shell lines of the app's own around a release; time in seconds."""

    before_deploy: Shell = ""
    after_deploy: Shell = ""
    on_failure: Shell = ""
    within: float = Field(default=300, gt=0)


class Notify(Section):
    """What people are told of, at the addresses that the secret NOTIFY_URLS holds; time in seconds."""

    on: list[Literal["deploy", "rollback", "failure"]] = ["deploy", "rollback", "failure"]
    within: float = Field(default=10, gt=0)


class Machine(Section):
    """A machine that is reached over SSH: where it is, as whom, and the host key that it must show."""

    address: str = Field(pattern=r"^([\w.-]+|[\w.%]*:[\w.%]*:[\w.:%]*)$")
    port: int = Field(default=22, gt=0, lt=65536)
    user: Account = ""
    key: HostKey = ""


class Server(Machine):
    """A host of the environment: what it is there for, and where the other hosts reach it."""

    roles: list[Role] = Field(default=["app", "worker", "edge", "data", "monitoring"], min_length=1)
    private: Annotated[str, AfterValidator(reached)] = ""


class Ssh(Section):
    """How hosts are reached; times in seconds."""

    user: Account = Field(default="root", min_length=1)
    key_file: Annotated[Path, AfterValidator(named)] | None = None
    sudo: bool = False
    connect_within: float = Field(default=10, gt=0)
    keepalive: float = Field(default=5, gt=0)
    parallel: int = Field(default=8, gt=0)


class Settings(Section):
    """Everything a command needs to know about one environment."""

    env: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    app: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    compose: list[str] = Field(min_length=1)
    bake: str = "docker/bake.hcl"
    nginx: str = "nginx/edge.conf.j2"
    domain: str
    state: Annotated[Path, AfterValidator(absolute)] | None = None
    secrets: str = ""
    variables: dict[str, str] = {}
    edge: Edge = Edge()
    build: Build = Build()
    ship: Ship = Ship()
    rollout: Rollout = Rollout()
    hooks: Hooks = Hooks()
    notify: Notify = Notify()
    ssh: Ssh = Ssh()
    gateway: Machine | None = None
    hosts: dict[HostName, Server] = {}
    root: Path = ROOT

    @field_validator("hosts")
    @classmethod
    def _each_once(cls, hosts: dict[str, Server]) -> dict[str, Server]:
        if "gateway" in hosts:
            raise ValueError("hosts.gateway: the gateway is the section [gateway]; give the host another name")
        places = [(f"{server.address.lower()}:{server.port}", name) for name, server in hosts.items()]
        places += [(server.private, name) for name, server in hosts.items() if server.private]
        for place, name in places:
            if (first := next(known for there, known in places if there == place)) != name:
                raise ValueError(f"hosts.{first} and hosts.{name} are both {place}; one machine is one host")
        return hosts

    @property
    def name(self) -> str:
        """The name that networks, projects and state of this environment share."""
        return f"{self.app}-{self.env}"

    @property
    def asks(self) -> bool:
        """Tell whether a person is asked before what serves here is changed."""
        return self.env in ("prod", "production")

    @property
    def fronts(self) -> dict[str, str]:
        """Name, for each host without an edge, the host whose edge serves what runs there; none where several have one."""
        edges = [name for name, server in self.hosts.items() if "edge" in server.roles]
        return {name: edges[0] for name in self.hosts if len(edges) == 1 and name not in edges}

    @property
    def state_dir(self) -> Path:
        """Where releases, journal, ledger and the edge's configuration live on the host."""
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        here = self.env in ("local", "dev") and not self.hosts
        return self.state or (home / self.name if here else Path("/var/lib") / self.name)

    @property
    def secrets_file(self) -> Path:
        """The file that holds this environment's secrets."""
        return self.root / (self.secrets or f".env.{self.env}")
