"""What an environment is made of: each section with its keys and defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from deploy.config import repositories
from deploy.config.repositories import Offsite, Repository
from deploy.core.model import must
from deploy.hosts.sections import File, HostKey, Machine, Port, Section, Server, Ssh, like

ROOT = Path(__file__).resolve().parents[2]


Shell = Annotated[str, like(r"[^\x00]*", "it must not hold a NUL character")]
Name = Annotated[
    str,
    like(r"[a-z][a-z0-9-]{0,30}", "it must be lower-case letters, digits and hyphens, a letter first, 31 at most"),
]
EnvName = Annotated[
    str,
    like(r"[a-z0-9][a-z0-9_-]*", "it must be lower-case letters, digits, _ and -, a letter or digit first"),
]
# nginx reads the setting as it stands
Domain = Annotated[
    str,
    like(
        r"(?a)[\w.*-]+( [\w.*-]+)*",
        "it must be a name as in books.example.org; several have a space between them",
    ),
]
# one of version 6 may stand in brackets, as Compose has it
Numeric = Annotated[
    str,
    must(
        lambda address: ip_address(address.removeprefix("[").removesuffix("]")),
        "it must be an IP address of the host, or 0.0.0.0 for all of them",
    ),
]
Hostname = Annotated[
    str,
    like(r"(?a)([\w-]+\.)*[\w-]+", "it must be one name as in www.example.org, without a wildcard or a port"),
]
Network = Annotated[
    str, must(lambda net: ip_network(net, strict=True), "it must be an address or a network as in 10.0.0.0/8")
]
UrlPrefix = Annotated[
    str, like(r"/[\w./~-]*", "it must be the beginning of a path, as in /api/, of letters, digits and . _ ~ - /")
]
Folder = Annotated[
    Path,
    must(Path.is_absolute, "it must begin with /"),
    must(lambda path: path.parts[1:], "it must be a folder of its own"),
]
Templates = Annotated[
    str,
    like(
        r"(?!.*\.j2$).+",
        'it is a folder now, which holds frame.conf.j2, routes.conf.j2 or site.conf.j2, as in nginx = "nginx"',
    ),
]
Registry = Annotated[
    str,
    like(
        r"([a-zA-Z0-9.-]+(:\d+)?(/[a-z0-9._/-]+)?)?",
        "it must be a registry and a path, as in registry.example.org/team",
    ),
]
PublicKey = Annotated[
    str,
    like(r"age1[0-9a-z]+|ssh-(ed25519|rsa) \S+.*", "it must be a public key: age1..., or ssh-ed25519 AAAA..."),
]
Clock = Annotated[str, like(r"([01]\d|2[0-3]):[0-5]\d", "it must be a time of day, as in 03:00, UTC")]
SecretName = Annotated[str, like(r"([A-Z][A-Z0-9_]*)?", "it must be the name of a secret, as in STAGING_LOGIN")]
OWN = ("env", "root")  # set by --env and by where the checkout is
LOCAL_ENVS = ("local", "dev")  # of one machine, and of nobody else


def is_certifiable(name: str) -> bool:
    """Tell whether a server of ACME can prove a name by HTTP: no wildcard, no address. Pure."""
    return re.fullmatch(r"(?a)([a-zA-Z0-9-]+\.)*[a-zA-Z][a-zA-Z0-9-]*", name) is not None


class Edge(Section):
    """Where the edge listens, what it believes, what it lets through; times in seconds."""

    address: Numeric = "127.0.0.1"
    port: Port = 8080
    tls_port: Port = 8443
    probe_port: Port = 9180
    canonical: Hostname | Literal[""] = ""
    trusted_proxies: list[Network] = Field(default=[])
    body_mb: int = Field(default=33, gt=0, description="megabytes that a request's body may have")
    header_within: float = Field(default=10, gt=0)
    body_within: float = Field(default=30, gt=0)
    login: SecretName = ""
    limits: dict[UrlPrefix, Annotated[int, Field(gt=0)]] = Field(default={}, description="path -> requests a minute")

    @model_validator(mode="after")
    def _two_ports(self) -> Edge:
        if self.port == self.probe_port:
            raise ValueError(f"edge.port and edge.probe_port are both {self.port}; the edge listens on two")
        return self


def is_among(name: str, names: Iterable[str]) -> bool:
    """Tell whether nginx takes a name for one of these, wildcards as it reads them: `*.a.test`, `.a.test`, `a.*`."""
    return any(fnmatchcase(name, one) or (one[0] == "." and f".{name}".endswith(one)) for one in names)


class Tls(Section):
    """Whether the edge serves HTTPS, and where its certificate comes from."""

    by: Literal["", "file", "acme"] = ""
    names: list[Hostname] = Field(default=[], description="what the certificate is for; none: the names of domain")
    hsts_seconds: int = Field(default=63_072_000, ge=0)
    certificate: str = ""
    key: str = ""
    server: Annotated[
        str, like(r"staging|production|https://\S+", "it must be staging, production, or the https address of a server")
    ] = "staging"
    email: Annotated[str, like(r"([^@\s]+@[^@\s]+)?", "it must be an address as in ops@example.org")] = ""
    profile: Annotated[str, like(r"[\w-]*", "it must be a profile's name, as in shortlived")] = ""
    challenge: Literal["http-01"] = "http-01"

    @model_validator(mode="after")
    def _has_its_files(self) -> Tls:
        if self.by == "file":
            if absent := [f"tls.{name}" for name in ("certificate", "key") if not getattr(self, name)]:
                raise ValueError(f"by file needs {' and '.join(absent)}, a PEM file on this machine")
        elif self.certificate or self.key:
            raise ValueError('certificate and key are of by = "file", which is not set')
        return self


class Build(Section):
    """How images are built."""

    bases: Literal["auto", "public", "debian"] = "auto"
    platform: Annotated[
        str, like(r"(linux/[a-z0-9]+(/v\d)?)?", "it must be one platform, as in linux/amd64; empty: the engine's own")
    ] = ""
    cache_from: list[str] = Field(default=[])
    cache_to: list[str] = Field(default=[])
    cache_gb: float = Field(default=10, ge=0)
    extra_ca: Path = Path("/etc/ssl/certs/ca-certificates.crt")
    budget: dict[str, int] = Field(default={}, description="image -> megabytes of uncompressed layers")


class Ship(Section):
    """How images come to hosts: through a registry, over the connection to the host, or not at all."""

    by: Literal["registry", "ssh", "local"] = "local"
    registry: Registry = ""
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
    batch: int = Field(default=0, ge=0, description="how many hosts switch at once after the canary; 0: all")
    on_failure: Literal["unwind", "hold"] = "unwind"
    healthy_within: float = Field(default=60, gt=0)
    served_within: float = Field(default=15, gt=0)
    drain_within: float = Field(default=30, gt=0)
    wait_for_dump: float = Field(default=900, ge=0)
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
            raise ValueError("keep_warm needs strategy blue_green: rolling stops an old replica when a new one serves")
        return self


class Migrate(Section):
    """What a migration may do to those who use the database meanwhile; times in seconds."""

    lock_timeout: float = Field(default=2, gt=0)
    statement_timeout: float = Field(default=60, ge=0)
    oldest_transaction: float = Field(default=300, ge=0)


class Hooks(Section):
    """Shell lines of the app's own around a release; time in seconds."""

    before_deploy: Shell = ""
    after_deploy: Shell = ""
    on_failure: Shell = ""
    within: float = Field(default=300, gt=0)


class Notify(Section):
    """What people are told of, at the addresses that the secret NOTIFY_URLS holds; time in seconds."""

    on: list[Literal["deploy", "rollback", "failure"]] = Field(default=["deploy", "rollback", "failure"])
    within: float = Field(default=10, gt=0)


class Monitor(Section):
    """Where Prometheus and Alertmanager listen on the host's loopback, and what is asked from outside."""

    prometheus_port: Port = 9090
    alertmanager_port: Port = 9093
    keep_days: int = Field(default=15, gt=0)
    probe: Annotated[
        str, like(r"(https?://[^\s\"']+)?", "it must be the address of a page, as in https://books.example.org/")
    ] = ""


class Backup(Section):
    """Where recovery points are kept, when they are taken, how many stay, how long a drill may take, in seconds."""

    repository: Repository = "/backups"
    repository_key: HostKey = ""
    offsite: Offsite = ""
    offsite_key: HostKey = ""
    at: Clock = "03:00"
    jitter_minutes: int = Field(default=30, ge=0, le=180)
    keep_days: int = Field(default=7, ge=0)
    keep_weeks: int = Field(default=4, ge=0)
    keep_months: int = Field(default=6, ge=0)
    keep_least: int = Field(default=3, ge=1, description="so many of the newest stay, whatever their age")
    drill_within: float = Field(default=900, gt=0)
    before_migration: bool = True
    max_age_hours: float = Field(
        default=24, ge=0, description="so old may the newest restored point be for a migration"
    )

    @model_validator(mode="after")
    def _two_places(self) -> Backup:
        for name in ("repository", "offsite"):
            address = getattr(self, name)
            if repositories.sftp_server(address) and not getattr(self, f"{name}_key"):
                raise ValueError(f"{name} is reached by SFTP and needs {name}_key, the host key that its server shows")
        if self.offsite == self.repository:
            raise ValueError("offsite is the same place as repository")
        return self

    @property
    def known_hosts(self) -> str:
        """What ssh must know of the servers: a line of known_hosts for each."""
        lines = (
            repositories.known_host(self.repository, self.repository_key),
            repositories.known_host(self.offsite, self.offsite_key),
        )
        return "\n".join(filter(None, lines))


Kind = Literal[
    "vulnerabilities", "end-of-life", "secrets", "misconfigurations", "history", "dockerfiles", "build-check",
    "shell", "actions", "workflows",
]  # fmt: skip

# an app may have no such files; images, and their secrets and vulnerabilities, are never left out
Skippable = Literal["locks", "misconfigurations", "dockerfiles", "build-check", "shell", "actions", "workflows"]


class Scan(Section):
    """How strictly images, dependencies and configuration are judged, and by what data; time in seconds."""

    severity: Literal["CRITICAL", "HIGH", "MEDIUM", "LOW"] = "HIGH"
    strict: bool | None = Field(default=None, description="whether UNKNOWN fails")
    required: bool | None = Field(default=None, description="whether a deploy needs a PASS of each image")
    pass_days: float = Field(default=7, gt=0)
    databases: list[str] = Field(default=[], description="OCI repositories, in order, or one folder")
    database_hours: float = Field(default=48, gt=0)
    system_packages: int = Field(default=2, ge=1)
    without_packages: list[str] = Field(default=[], description="images that have no package manager, on purpose")
    skip: list[Skippable] = Field(default=[], description="kinds of checks that this app has nothing for")
    programs: dict[str, str] = Field(default={}, description="program -> path, in place of the installed one")
    within: float = Field(default=300, gt=0)


class Secrets(Section):
    """Where the secrets come from: a file, one that is encrypted with age, or a command; time in seconds."""

    file: str = ""
    command: list[str] = Field(default=[])
    within: float = Field(default=30, gt=0)
    recipients: dict[str, PublicKey] = Field(default={}, description="name -> public key")
    identity: File = Path("~/.config/age/keys.txt")

    def identity_in(self, root: Path) -> Path:
        """Return where the key is that decrypts, `~` and the checkout filled in."""
        return root / self.identity.expanduser()

    @field_validator("command", mode="before")
    @classmethod
    def _line_for_sh(cls, command: object) -> object:
        return (["sh", "-c", command] if command else []) if isinstance(command, str) else command

    @model_validator(mode="after")
    def _one_source(self) -> Secrets:
        if self.command and self.file:
            raise ValueError("secrets.file and secrets.command are two sources; keep one")
        if self.file.endswith(".age") and not self.recipients:
            raise ValueError('a secrets.file that is encrypted needs [secrets.recipients]: alice = "age1..."')
        return self


class Provision(Section):
    """What `inv hosts.provision` sets up: who may reach SSH, what else is open to everybody, how much swap."""

    ssh_from: list[Network] = Field(default=[], description="empty: from anywhere")
    ports: list[Port] = Field(default=[], description="open to everybody, besides SSH and the edge")
    swap_gb: int = Field(default=1, ge=0)


class Settings(Section):
    """Everything a command needs to know about one environment."""

    env: EnvName
    app: Name
    compose: list[str] = Field(min_length=1)
    bake: str = "docker/bake.hcl"
    nginx: Templates = "nginx"
    domain: Domain
    state: Folder | None = None
    secrets: Secrets = Secrets()
    variables: dict[str, str] = Field(default={})
    edge: Edge = Edge()
    tls: Tls = Tls()
    build: Build = Build()
    ship: Ship = Ship()
    rollout: Rollout = Rollout()
    migrate: Migrate = Migrate()
    hooks: Hooks = Hooks()
    notify: Notify = Notify()
    backup: Backup = Backup()
    scan: Scan = Scan()
    monitor: Monitor = Monitor()
    ssh: Ssh = Ssh()
    provision: Provision = Provision()
    gateway: Machine | None = None
    hosts: dict[Name, Server] = Field(default={})
    root: Path = ROOT

    @field_validator("secrets", mode="before")
    @classmethod
    def _name_of_a_file(cls, secrets: object) -> object:
        return {"file": secrets} if isinstance(secrets, str) else secrets

    @field_validator("hosts")
    @classmethod
    def _each_once(cls, hosts: dict[str, Server]) -> dict[str, Server]:
        if "gateway" in hosts:
            raise ValueError("hosts.gateway: the gateway is the section [gateway]; give the host another name")
        places = [(f"{server.address.lower()}:{server.port}", name) for name, server in hosts.items()]
        places += [(server.private, name) for name, server in hosts.items() if server.private]
        for place, name in places:
            if (first := next(other for there, other in places if there == place)) != name:
                raise ValueError(f"hosts.{first} and hosts.{name} are both {place}; one machine is one host")
        return hosts

    @model_validator(mode="after")
    def _edge_fits(self) -> Settings:
        names, taken = self.domain.split(), {self.edge.port, self.edge.probe_port}
        if self.edge.canonical and self.edge.canonical not in names:
            raise ValueError(f"edge.canonical is {self.edge.canonical}, which is none of the names in domain")
        if self.tls.by and self.edge.tls_port in taken:
            raise ValueError(f"edge.tls_port is {self.edge.tls_port}, as another port of the edge is")
        if "_" not in names and (strangers := [name for name in self.tls.names if not is_among(name, names)]):
            raise ValueError(f"tls.names has {', '.join(strangers)}, which the edge lets in nowhere: add it to domain")
        if self.tls.by == "acme" and (unfit := [name for name in self.tls_names if not is_certifiable(name)]):
            raise ValueError(
                f"tls.by acme gets no certificate for {', '.join(unfit)}: the challenge http-01 needs a name, "
                'without a wildcard; list names in tls.names, or bring a certificate with by = "file"'
            )
        return self

    @property
    def tls_names(self) -> tuple[str, ...]:
        """The names that a certificate is for: as `tls.names` says, else those of `domain`."""
        return tuple(self.tls.names or self.domain.split())

    @cached_property
    def name(self) -> str:
        """The name that networks, projects and state of this environment share."""
        return f"{self.app}-{self.env}"

    @property
    def asks(self) -> bool:
        """Tell whether a person is asked before what serves here is changed."""
        return self.env in ("prod", "production")

    @property
    def needs_scan(self) -> bool:
        """Tell whether a deploy needs a PASS of each image: as `scan.required` says, else in prod."""
        return self.asks if self.scan.required is None else self.scan.required

    @property
    def fronts(self) -> dict[str, str]:
        """Name, for each host without an edge, the host whose edge serves it; none where several have one."""
        edges = [name for name, server in self.hosts.items() if "edge" in server.roles]
        return {name: edges[0] for name in self.hosts if len(edges) == 1 and name not in edges}

    @property
    def state_dir(self) -> Path:
        """Where releases, journal, ledger and the edge's configuration live on the host."""
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        here = self.env in LOCAL_ENVS and not self.hosts
        return self.state or (home / self.name if here else Path("/var/lib") / self.name)

    @property
    def secrets_file(self) -> Path:
        """The file that holds this environment's secrets, unless a command prints them."""
        return self.root / (self.secrets.file or f".env.{self.env}")

    @property
    def secrets_name(self) -> str:
        """What messages call the place of the secrets."""
        return "what secrets.command prints" if self.secrets.command else self.secrets_file.name
