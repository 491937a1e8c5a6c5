"""What an environment is made of: defaults < deploy/app.toml < environments/<env>.toml < OPS_* variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from deploy.errors import Reasons, Refused, refuse

ROOT = Path(__file__).resolve().parent.parent
PREFIX = "OPS_"
VARIABLES = "environment variable"


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
Key = tuple[str, ...]
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


def load(env: str, root: Path = ROOT) -> Settings:
    """Read one environment's settings; raise Refused with every mistake at once."""
    root = Path(os.environ.get("OPS_ROOT", root)).resolve()
    values: dict[Key, Any] = {}
    sources: dict[Key, str] = {}
    for name, layer in layers(env, root):
        values |= layer
        sources |= dict.fromkeys(layer, name)
    mistakes = [f"{place((key,), sources)}: unknown key; --env and the checkout say it" for key in OWN if values.pop((key,), None)]
    try:
        wanted = Settings.model_validate({**nested(values), "env": env, "root": root})
    except ValidationError as error:
        mistakes += [explain(mistake, sources) for mistake in error.errors()]
    where = f"deploy/app.toml, deploy/environments/{env}.toml, OPS_ variables"
    refuse(f"the settings of {env} have {len(mistakes)} mistake(s):", mistakes, where=where, then=f"mend them, then inv plan --env={env}")
    return wanted


def layers(env: str, root: Path) -> Iterator[tuple[str, dict[Key, Any]]]:
    """Yield the settings' layers, weakest first, each with the name a person knows it by."""
    folder = root / "deploy" / "environments"
    known = sorted(path.stem for path in folder.glob("*.toml"))
    if env not in known:
        raise Refused(
            f"there is no environment `{env}`{nearest(env, known)}",
            where=str(folder.relative_to(root)),
            then=f"--env with one of: {', '.join(known) or '(none yet)'}",
        )
    reasons = Reasons()
    for path in (root / "deploy" / "app.toml", folder / f"{env}.toml"):
        with reasons:
            yield str(path.relative_to(root)), dict(flat(parse(path, root)))
    reasons.refuse()
    yield VARIABLES, from_variables(os.environ)


def parse(path: Path, root: Path) -> dict[str, Any]:
    """Read one TOML file."""
    where = str(path.relative_to(root))
    try:
        return tomllib.loads(path.read_text())
    except ValueError as error:  # not TOML, or not UTF-8
        raise Refused(f"{where} is not TOML: {error}", where=where, then=f"mend {where}") from None
    except OSError as error:
        raise Refused(f"{where} cannot be read: {error.strerror}", where=where, then=f"mend {where}") from None


def flat(table: Mapping[str, Any], above: Key = ()) -> Iterator[tuple[Key, Any]]:
    """Yield the values of nested tables by key; an empty table is a value."""
    for name, value in table.items():
        if value and isinstance(value, dict):
            yield from flat(value, (*above, name))
        else:
            yield (*above, name), value


def nested(values: Mapping[Key, Any]) -> dict[str, Any]:
    """Make tables of values; raise Refused when one stands where another has a table."""
    tables: dict[str, Any] = {}
    for key, value in sorted(values.items(), key=lambda item: len(item[0])):
        table = tables
        for section in key[:-1]:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise Refused(f"{section} is a section in one place and a value in another", where=".".join(key), then="remove one of them")
        table[key[-1]] = value
    return tables


def from_variables(environ: Mapping[str, str]) -> dict[Key, Any]:
    """Turn OPS_EDGE__PORT=8081 into {("edge", "port"): "8081"}; the names of the app's own variables stay as they are written."""
    names = {name: name.removeprefix(PREFIX).split("__") for name in environ if name.startswith(PREFIX) and name != "OPS_ROOT"}
    return {from_words(*words): listed(environ[name]) for name, words in names.items()}


def from_words(first: str, *rest: str) -> Key:
    """Turn a variable's words into a key; a shell's variable has no hyphen, so that OPS_HOSTS__APP_1__PORT is of app-1."""
    if first == "HOSTS" and rest:
        rest = (rest[0].replace("_", "-"), *rest[1:])
    return (first.lower(), *(rest if first == "VARIABLES" else map(str.lower, rest)))


def listed(value: str) -> Any:
    """Read `["a", "b"]` as the list that TOML would make of it; everything else stays a string."""
    try:
        return tomllib.loads(f"value = {value}")["value"] if value.startswith("[") else value
    except tomllib.TOMLDecodeError:
        return value


def explain(mistake: Any, sources: Mapping[Key, str]) -> str:
    """Say one mistake as file, key path and what is wrong, with the nearest right key."""
    key = tuple(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        return f"{place(key, sources)}: unknown key{nearest('.'.join(key), known_keys(key[:-1]))}"
    return f"{place(key, sources)}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}"


def nearest(key: str, known: Iterable[str]) -> str:
    """Return the hint at the nearest right key; empty when none is near."""
    near = get_close_matches(key, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def place(key: Key, sources: Mapping[Key, str]) -> str:
    """Name a key as the person wrote it: file and path, or the variable."""
    path = ".".join(key)
    source = next((name for known, name in sources.items() if all(one == other for one, other in zip(key, known, strict=False))), "")
    if source == VARIABLES:
        return f"{source} {PREFIX}{path.upper().replace('.', '__').replace('-', '_')} ({path})"
    return f"{source}: {path}" if source else path


def known_keys(above: Key) -> list[str]:
    """List the keys that a section takes, with the section's own."""
    model: type[BaseModel] = Settings
    for part in above:
        known = model.model_fields.get(part)  # none for the name of a host
        model = (known and section(known.annotation)) or model
    return [".".join((*above, name)) for name in model.model_fields if name not in OWN]


def section(annotation: Any) -> type[Section] | None:
    """Return the section that an annotation is about: `Edge`, `Machine | None`, `dict[HostName, Server]`."""
    return next((one for one in (annotation, *get_args(annotation)) if isinstance(one, type) and issubclass(one, Section)), None)
