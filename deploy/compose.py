"""The compose files as one checked model, and what is rendered from it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from deploy import secrets
from deploy.errors import CommandFailed, Reasons, Refused, nearest, refuse
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.model import Deploy, Role, replicas_unfit
from deploy.shell import Command, command, docker

# the name that Compose reads the files under; what it names after it is renamed
READING = "read"


@dataclass(frozen=True)
class Service:
    """One service: its x-deploy block and its specification as Compose understood it."""

    name: str
    deploy: Deploy
    spec: Mapping[str, Any]
    has_secrets: bool
    behind: tuple[str, ...] = ()  # addresses of other hosts that run it too, behind the edge of this one
    published: str = ""  # this host's address, where others must reach it

    @property
    def role(self) -> Role:
        """What the service is for."""
        return self.deploy.role

    @property
    def networks(self) -> Mapping[str, Any]:
        """Return the networks that the service joins; one without any joins `default`."""
        return self.spec.get("networks") or {}

    @property
    def replicas(self) -> int:
        """How many containers of it run at once."""
        return int(self.spec.get("scale", (self.spec.get("deploy") or {}).get("replicas", 1)))

    @property
    def image(self) -> str:
        """The image as the compose file names it."""
        return str(self.spec.get("image", ""))


@dataclass(frozen=True)
class Model:
    """All compose files of an app, merged by Compose itself."""

    services: tuple[Service, ...]
    networks: Mapping[str, Any]
    volumes: Mapping[str, Any]

    def of(self, *roles: Role) -> tuple[Service, ...]:
        """Return the services with one of these roles, in the files' order."""
        return tuple(service for service in self.services if service.role in roles)

    @property
    def web(self) -> tuple[Service, ...]:
        """The services that answer requests behind the edge."""
        return self.of("web")


def read(root: Path, names: Iterable[str], variables: Mapping[str, str], host: LocalHost) -> Model:
    """Read the compose files of a checkout; raise Refused with every mistake at once.

    Compose reads copies, without env_file: it would print those values in clear. It is asked for YAML, since its JSON
    drops x- keys (seen with 2.26 and 5.6).
    """
    reasons, raw = Reasons(), dict[str, dict[str, Any]]()
    for name in names:
        with reasons:
            raw[name] = load(root / name, name)
    reasons.refuse()
    with_secrets = {service for document in raw.values() for service in take_out_env_file(document)}
    with tempfile.TemporaryDirectory() as folder:
        copies = {str(Path(folder, f"{number}.yml")): name for number, name in enumerate(raw)}
        for copy, name in copies.items():
            Path(copy).write_text(yaml.safe_dump(raw[name], sort_keys=False))
        own = Path(folder, "variables")
        own.write_text(secrets.render(variables))
        place = ("--project-directory", str((root / next(iter(raw))).parent), "--env-file", str(own))
        files = (word for copy in copies for word in ("--file", copy))
        ask = docker("compose", "--project-name", READING, *files, *place, "--profile", "*", "config")
        try:
            answer = host.run(alone(ask))
        except CommandFailed as error:
            raise refused(error.output, copies, host) from None
    return check(yaml.load(answer, Yaml), with_secrets, root, ", ".join(raw))  # noqa: S506  # a SafeLoader


def load(path: Path, name: str) -> dict[str, Any]:
    """Read one YAML file."""
    try:
        document = yaml.load(path.read_text(), Yaml)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror}", where=name, then=f"mend {name}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refused(f"{name} is not YAML: {error}", where=name, then=f"mend {name}, then inv plan") from None
    if not isinstance(document, dict) or not isinstance(document.get("services", {}), dict):
        raise Refused(f"{name} is not a compose file: no services", where=name, then=f"mend {name}, then inv plan")
    return document


class Yaml(yaml.SafeLoader):
    """Read YAML as Compose does: by version 1.2 `yes`, `12:30` and `=` are text, and a key that stands twice is an error."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # as in its base class
        first: [(tag, pattern) for tag, pattern in rules if not tag.endswith((":bool", ":int", ":timestamp", ":value"))]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_mapping_node(self, anchor: Any) -> Any:
        """Compose one mapping; merge keys are not resolved yet, so that what overrides one is no second key."""
        node = super().compose_mapping_node(anchor)
        keys: set[str] = set()
        for key, _ in node.value:
            if str(key.value) in keys:
                raise yaml.MarkedYAMLError(problem=f"the key {key.value} stands twice", problem_mark=key.start_mark)
            keys.add(str(key.value))
        return node


Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
Yaml.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("[-+]?[0-9]+$"), list("-+0123456789"))


def alone(ask: Command) -> Command:
    """Run Compose without this shell's variables, which would win over those of the environment."""
    kept = [f"{name}={os.environ[name]}" for name in ("HOME", "PATH", "DOCKER_CONFIG") if name in os.environ]
    return command("env", "--ignore-environment", *kept, *ask.argv)


def take_out_env_file(document: dict[str, Any]) -> list[str]:
    """Remove each service's env_file; return the services that had one."""
    services = document.get("services") or {}
    return [name for name, spec in services.items() if isinstance(spec, dict) and spec.pop("env_file", None)]


def refused(said: str, copies: Mapping[str, str], host: LocalHost) -> Refused:
    """Say what Compose found in the files, by their own names."""
    require_plugin(host)
    for copy, name in copies.items():
        said = said.replace(copy, name)
    then = "mend that (a missing variable belongs into [variables] of the environment), then inv plan"
    return Refused(f"Compose refuses the files:\n{said}", where=", ".join(copies.values()), then=then)


def require_plugin(host: Host) -> None:
    """Refuse a Docker client without Compose, whose own message would blame an option."""
    if host.try_run(docker("compose", "version"), timeout=20).returncode:
        raise Refused("docker has no compose plugin", where=host.name, then="apt-get install docker-compose (or docker-compose-plugin)")


def check(merged: Mapping[str, Any], with_secrets: set[str], root: Path, names: str) -> Model:
    """Turn what Compose merged into a model, or refuse with every mistake."""
    mistakes, services = [], []
    for name, spec in (merged.get("services") or {}).items():
        try:
            services.append(Service(name, Deploy.model_validate(undoubled(spec.get("x-deploy", {}))), spec, name in with_secrets))
        except ValidationError as error:
            mistakes += [f"service {name}: {explain(mistake)}" for mistake in error.errors()]
        mistakes += [f"service {name}: {text}" for text in unfit(spec, root)]
    for key in ("configs", "secrets"):
        mistakes += [f"top-level {key}: not rendered per colour; use an image, a volume or env_file"] if merged.get(key) else []
    model = Model(tuple(services), merged.get("networks") or {}, merged.get("volumes") or {})
    mistakes += inconsistencies(model) if not mistakes else []
    refuse(f"the compose files have {len(mistakes)} mistake(s):", mistakes, where=names, then="mend them, then inv plan")
    return model


def undoubled(value: Any) -> Any:
    """Return a value of x-deploy as it was meant: Compose writes every `$` doubled, and nobody else reads that key."""
    if isinstance(value, dict):
        return {key: undoubled(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [undoubled(inner) for inner in value]
    return value.replace("$$", "$") if isinstance(value, str) else value


def explain(mistake: Any) -> str:
    """Say one mistake of an x-deploy block."""
    path = ".".join(str(part) for part in mistake["loc"])
    if path == "role" and mistake["type"] == "missing":
        return "no x-deploy role; one of web, worker, scheduler, job, data, edge"
    if mistake["type"] == "extra_forbidden":
        return f"x-deploy.{path}: unknown key{nearest(path, Deploy.model_fields)}; known are {', '.join(Deploy.model_fields)}"
    said = mistake["msg"].removeprefix("Value error, ")
    return f"x-deploy{'.' if path else ''}{path}: {said[0].lower()}{said[1:]}"


def unfit(spec: Mapping[str, Any], checkout: Path) -> Iterable[str]:
    """Name what would not be there on another host."""
    for mount in spec.get("volumes", []):
        if mount.get("type") == "bind" and Path(mount["source"]).is_relative_to(checkout):
            source = Path(mount["source"]).relative_to(checkout)
            yield f"mounts {source} of this checkout, which another host does not have; put it into the image or a volume"
    if str(spec.get("network_mode", "")).startswith("service:") or spec.get("links"):
        yield "shares another service's network; colours have names of their own, use networks"
    if not spec.get("image"):
        yield "no image; name the one that is built (docker/bake.hcl) or pulled"


def inconsistencies(model: Model) -> Iterable[str]:
    """Name what is right by itself but not together."""
    if not model.web:
        yield "no service has the role web"
    if len(model.of("edge")) != 1:
        yield "exactly one service must have the role edge"
    for service in model.web:
        if service.deploy.port is None:
            yield f"service {service.name}: x-deploy.port is missing"
        if not any(set(service.networks) & set(edge.networks) for edge in model.of("edge")):
            yield f"service {service.name}: shares no network with the edge"
    for service in model.services:
        reason = replicas_unfit(service.role, service.replicas)
        if reason:
            yield f"service {service.name}: {reason}"
    if len(model.of("scheduler")) > 1:
        yield "more than one service has the role scheduler"
