"""The sections of an environment's settings: each with its keys and defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from deploy.config import repositories
from deploy.config.kinds import (
    Clock,
    Hostname,
    Network,
    Numeric,
    Proxies,
    PublicKey,
    Registry,
    SecretName,
    Shell,
    UrlPrefix,
)
from deploy.config.repositories import Offsite, Repository
from deploy.hosts.sections import File, HostKey, Port, Section, like

DAY = 86_400  # seconds


class Edge(Section):
    """Where the edge listens, what it believes, what it lets through; times in seconds."""

    address: Numeric = "127.0.0.1"
    port: Port = 8080
    tls_port: Port = 8443
    probe_port: Port = 9180
    canonical: Hostname | Literal[""] = ""
    trusted_proxies: list[Proxies] = Field(default=[])
    body_mb: int = Field(default=33, gt=0, le=1_000_000, description="megabytes that a request's body may have")
    header_within: float = Field(default=10, ge=0.1, le=DAY)
    body_within: float = Field(default=30, ge=0.1, le=DAY)
    login: SecretName = ""
    limits: dict[UrlPrefix, Annotated[int, Field(gt=0, le=1_000_000)]] = Field(
        default={}, description="path -> requests a minute"
    )

    @model_validator(mode="after")
    def _two_ports(self) -> Edge:
        if self.port == self.probe_port:
            raise ValueError(f"edge.port and edge.probe_port are both {self.port}; the edge listens on two")
        return self


class Tls(Section):
    """Whether the edge serves HTTPS, and where its certificate comes from."""

    by: Literal["", "file", "acme"] = ""
    names: list[Hostname] = Field(default=[], description="what the certificate is for; none: the names of domain")
    hsts_seconds: int = Field(default=63_072_000, ge=0, le=10 * 365 * DAY)
    certificate: str = ""
    key: str = ""
    server: Annotated[
        str, like(r"staging|production|https://\S+", "it must be staging, production, or the https address of a server")
    ] = "staging"
    email: Annotated[str, like(r"([^@\s]+@[^@\s]+)?", "it must be an address as in ops@example.org")] = ""
    profile: Annotated[str, like(r"[\w-]*", "it must be a profile's name, as in shortlived")] = ""
    challenge: Literal["http-01", "dns-01"] = "http-01"
    dns_hook: list[str] = Field(default=[], description="dns-01: command in the container of certificates")

    @model_validator(mode="after")
    def _has_its_files(self) -> Tls:
        if self.by == "file":
            if absent := [f"tls.{name}" for name in ("certificate", "key") if not getattr(self, name)]:
                raise ValueError(f"by file needs {' and '.join(absent)}, a PEM file on this machine")
        elif self.certificate or self.key:
            raise ValueError('certificate and key are of by = "file", which is not set')
        if (self.by, self.challenge) == ("acme", "dns-01") and not self.dns_hook:
            raise ValueError('challenge = "dns-01" needs dns_hook, the command that adds and removes records')
        if self.dns_hook and (self.by, self.challenge) != ("acme", "dns-01"):
            raise ValueError('dns_hook is of by = "acme" with challenge = "dns-01", which is not set')
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


PageAddress = Annotated[
    str, like(r"(https?://[^\s\"']+)?", "it must be the address of a page, as in https://books.example.org/")
]


class Monitor(Section):
    """Where the stack listens on the host's loopback, what is asked from outside, and where people find pages."""

    prometheus_port: Port = 9090
    alertmanager_port: Port = 9093
    grafana_port: Port = 3000
    loki_port: Port = 3100
    keep_days: int = Field(default=15, gt=0)
    probe: PageAddress = ""
    grafana_url: PageAddress = ""
    playbooks_url: PageAddress = ""


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
