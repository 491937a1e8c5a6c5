"""What an environment is made of: defaults < deploy/app.toml < environments/<env>.toml < OPS_* variables."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deploy.errors import Reasons, Refused

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENTS = ROOT / "deploy" / "environments"
PREFIX = "OPS_"
VARIABLES = "environment variable"
Shell = Annotated[str, Field(pattern=r"^[^\x00]*$")]
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


class Rollout(Section):
    """How releases change places; times in seconds."""

    strategy: Literal["blue_green", "rolling"] = "blue_green"
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


class Settings(Section):
    """Everything a command needs to know about one environment."""

    env: str
    app: str = Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")
    compose: list[str] = Field(min_length=1)
    bake: str = "docker/bake.hcl"
    nginx: str = "nginx/edge.conf.j2"
    domain: str
    state: Path | None = None
    secrets: str = ""
    variables: dict[str, str] = {}
    edge: Edge = Edge()
    build: Build = Build()
    rollout: Rollout = Rollout()
    hooks: Hooks = Hooks()
    notify: Notify = Notify()
    root: Path = ROOT

    @property
    def name(self) -> str:
        """The name that networks, projects and state of this environment share."""
        return f"{self.app}-{self.env}"

    @property
    def state_dir(self) -> Path:
        """Where releases, journal, ledger and the edge's configuration live on the host."""
        home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        return self.state or (home / self.name if self.env in ("local", "dev") else Path("/var/lib") / self.name)

    @property
    def secrets_file(self) -> Path:
        """The file that holds this environment's secrets."""
        return self.root / (self.secrets or f".env.{self.env}")


def load(env: str, root: Path = ROOT) -> Settings:
    """Read one environment's settings; raise Refused with every mistake at once."""
    root = Path(os.environ.get("OPS_ROOT", root)).resolve()
    merged: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for name, layer in layers(env, root):
        overlay(merged, layer, sources, name)
    mistakes = [f"{place(key, sources)}: unknown key; --env and the checkout say it" for key in OWN if merged.pop(key, None)]
    try:
        wanted = Settings.model_validate({**merged, "env": env, "root": root})
    except ValidationError as error:
        mistakes += [explain(mistake, sources) for mistake in error.errors()]
    if mistakes:
        raise Refused(
            f"the settings of {env} have {len(mistakes)} mistake(s):\n" + "\n".join(f"    {line}" for line in mistakes),
            where=f"deploy/app.toml, deploy/environments/{env}.toml, OPS_ variables",
            then=f"mend them, then inv plan --env={env}",
        )
    return wanted


def layers(env: str, root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
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
            yield str(path.relative_to(root)), parse(path, root)
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


def from_variables(environ: Mapping[str, str]) -> dict[str, Any]:
    """Turn OPS_EDGE__PORT=8081 into {"edge": {"port": "8081"}}."""
    layer: dict[str, Any] = {}
    for name, value in sorted(environ.items()):
        if name.startswith(PREFIX) and name != "OPS_ROOT":
            *sections, key = name.removeprefix(PREFIX).lower().split("__")
            key = name[-len(key) :] if sections == ["variables"] else key  # the app's own, as it is written
            place = layer
            for section in sections:
                place = place.setdefault(section, {})
                if not isinstance(place, dict):
                    raise Refused(f"{name} names a section, another OPS_ variable a value of that name", where=name, then=f"unset {name}")
            place[key] = listed(value)
    return layer


def listed(value: str) -> Any:
    """Read `["a", "b"]` as the list that TOML would make of it; everything else stays a string."""
    try:
        return tomllib.loads(f"value = {value}")["value"] if value.startswith("[") else value
    except tomllib.TOMLDecodeError:
        return value


def overlay(below: dict[str, Any], above: Mapping[str, Any], sources: dict[str, str], name: str, at: str = "") -> None:
    """Lay one layer over another and remember where each value came from."""
    for key, value in above.items():
        path = f"{at}.{key}" if at else key
        sources[path] = name
        if isinstance(value, dict) and isinstance(below.get(key), dict):
            overlay(below[key], value, sources, name, path)
        elif isinstance(value, dict):
            below[key] = {}
            overlay(below[key], value, sources, name, path)
        else:
            below[key] = value


def explain(mistake: Any, sources: Mapping[str, str]) -> str:
    """Say one mistake as file, key path and what is wrong, with the nearest right key."""
    path = ".".join(str(part) for part in mistake["loc"])
    if mistake["type"] == "extra_forbidden":
        known = [".".join((*map(str, mistake["loc"][:-1]), key)) for key in known_keys(mistake["loc"][:-1])]
        return f"{place(path, sources)}: unknown key{nearest(path, known)}"
    return f"{place(path, sources)}: {mistake['msg'][0].lower()}{mistake['msg'][1:]}"


def nearest(key: str, known: Iterable[str]) -> str:
    """Return the hint at the nearest right key; empty when none is near."""
    near = get_close_matches(key, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def place(path: str, sources: Mapping[str, str]) -> str:
    """Name a key as the person wrote it: file and path, or the variable."""
    source = sources.get(path) or next((name for key, name in sources.items() if path.startswith(key + ".")), "")
    if source == VARIABLES:
        return f"{source} {PREFIX}{path.upper().replace('.', '__')} ({path})"
    return f"{source}: {path}" if source else path


def known_keys(sections: tuple[str | int, ...]) -> list[str]:
    """List the keys that a section takes."""
    model: type[BaseModel] = Settings
    for section in sections:
        inner = model.model_fields[str(section)].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        model = inner
    return [key for key in model.model_fields if key not in OWN]
