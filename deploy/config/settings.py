"""What an environment is made of: its sections, and what must fit between them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from deploy.config import sections
from deploy.config.kinds import Domain, EnvName, Folder, Name, Templates
from deploy.hosts.sections import Machine, Section, Server, Ssh

ROOT = Path(__file__).resolve().parents[2]
OWN = ("env", "root")  # set by --env and by where the checkout is
LOCAL_ENVS = ("local", "dev")  # of one machine, and of nobody else


def is_certifiable(name: str, challenge: str) -> bool:
    """Tell whether a server of ACME can prove a name: a wildcard by DNS alone, an address by HTTP alone. Pure."""
    own = name.removeprefix("*.") if challenge == "dns-01" else name
    is_name = re.fullmatch(r"(?a)([a-zA-Z0-9-]+\.)*[a-zA-Z][a-zA-Z0-9-]*", own) is not None
    return is_name or (challenge == "http-01" and is_address(name))


def is_address(name: str) -> bool:
    """Tell whether a name is an IP address. Pure."""
    try:
        return bool(ip_address(name))
    except ValueError:
        return False


def is_among(name: str, names: Iterable[str]) -> bool:
    """Tell whether nginx takes a name for one of these, wildcards as it reads them: `*.a.test`, `.a.test`, `a.*`."""
    return any(fnmatchcase(name, one) or (one[0] == "." and f".{name}".endswith(one)) for one in names)


class Settings(Section):
    """Everything a command needs to know about one environment."""

    env: EnvName
    app: Name
    compose: list[str] = Field(min_length=1)
    bake: str = "docker/bake.hcl"
    nginx: Templates = "nginx"
    domain: Domain
    state: Folder | None = None
    secrets: sections.Secrets = sections.Secrets()
    variables: dict[str, str] = Field(default={})
    edge: sections.Edge = sections.Edge()
    tls: sections.Tls = sections.Tls()
    build: sections.Build = sections.Build()
    ship: sections.Ship = sections.Ship()
    rollout: sections.Rollout = sections.Rollout()
    migrate: sections.Migrate = sections.Migrate()
    hooks: sections.Hooks = sections.Hooks()
    notify: sections.Notify = sections.Notify()
    backup: sections.Backup = sections.Backup()
    scan: sections.Scan = sections.Scan()
    monitor: sections.Monitor = sections.Monitor()
    ssh: Ssh = Ssh()
    provision: sections.Provision = sections.Provision()
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
        unfit = [name for name in self.tls_names if not is_certifiable(name, self.tls.challenge)]
        if self.tls.by == "acme" and unfit:
            needs = {
                "http-01": "needs a name or an address, without a wildcard (dns-01 takes one)",
                "dns-01": "needs a name",
            }
            raise ValueError(
                f"tls.by acme gets no certificate for {', '.join(unfit)}: the challenge {self.tls.challenge} "
                f'{needs[self.tls.challenge]}; list names in tls.names, or bring a certificate with by = "file"'
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
    def issuer(self) -> str:
        """Name the host whose edge obtains the certificate for all: the first of several; none with one, or by file."""
        edges = [name for name, server in self.hosts.items() if "edge" in server.roles]
        return edges[0] if self.tls.by == "acme" and len(edges) > 1 else ""

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
