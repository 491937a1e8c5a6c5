"""The compose files as one checked model, and what is rendered from it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from deploy.config import secrets, shadow
from deploy.config.shadow import EnvFile, Shadow, Values, Yaml
from deploy.core.errors import Reasons, Refused, nearest, refuse
from deploy.core.model import Deploy, Role, replicas_unfit
from deploy.core.shell import Command, command, docker
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost

# the name that Compose reads the files under; what it names after it is renamed
READING = "read"
# what an env_file is called that means the secrets of the environment, whichever that is
SECRETS = re.compile(r"\.env(\..+)?")
# what Compose writes, quotes escaped, beside an exit code of 0
UNSET = re.compile(r"""The \\?"(\w+)\\?" variable is not set""")


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
    env_files: tuple[EnvFile, ...] = ()
    folders: tuple[Path, ...] = ()  # where the files are
    left_out: tuple[str, ...] = ()  # what they take from elsewhere, and do not get

    def of(self, *roles: Role) -> tuple[Service, ...]:
        """Return the services with one of these roles, in the files' order."""
        return tuple(service for service in self.services if service.role in roles)

    @property
    def web(self) -> tuple[Service, ...]:
        """The services that answer requests behind the edge."""
        return self.of("web")


def read(root: Path, names: Sequence[str], variables: Mapping[str, str], host: LocalHost) -> Model:
    """Read the compose files of a checkout; raise Refused with every mistake at once.

    Compose resolves copies, beside which a dummy lies for each env_file: it would print those values in clear. It is asked
    for YAML, since its JSON drops x- keys (seen with 2.26 and 5.6).
    """
    reasons, paths = Reasons(), [shadow.tidy(root / name) for name in names]
    base = paths[0].parent
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "variables")
        own.write_text(secrets.render(variables))
        copies = Shadow(shadow.tidy(root), Path(folder, "shadow"), variables, lambda text: interpolated(text, own, host))
        for path in paths:
            with reasons:
                copies.copy(path, base, Values((), base / ".env"))
        reasons.refuse()
        answer = host.try_run(config([copies.at(path) for path in paths], own, copies.at(base)))
        if answer.returncode:
            raise refused(copies.plain(answer.output), ", ".join(names), host)
    merged = yaml.load(answer.stdout.replace(str(copies.top), ""), Yaml)  # noqa: S506  # a SafeLoader
    env_files = tuple(one for name, spec in (merged.get("services") or {}).items() for one in copies.taken_out(name, spec))
    model = check(merged, {one.service for one in env_files}, root, ", ".join(names), copies.mistakes)
    folders = tuple({copies.root, *(place for _, place in copies.copied)})
    unset = (name for name in UNSET.findall(answer.stderr) if re.search(rf"\$\{{?{name}\b", copies.used))
    then = "put a value into [variables]; a secret into the secrets file, and give the service an env_file"
    blank = [f"${name} is not set, and nothing stands in its place: {then}" for name in unset]
    return replace(model, env_files=env_files, folders=folders, left_out=tuple(dict.fromkeys([*copies.left_out, *blank])))


def config(files: Iterable[Path], variables: Path, folder: Path) -> Command:
    """Ask Compose to resolve files, whatever their profiles."""
    words = (word for path in files for word in ("--file", str(path)))
    place = ("--project-directory", str(folder), "--env-file", str(variables))
    return alone(docker("compose", "--project-name", READING, *words, *place, "--profile", "*", "config"))


def interpolated(text: str, variables: Path, host: LocalHost) -> str:
    """Interpolate a text as Compose does; raise Refused when it cannot."""
    asked = variables.with_name("asked.yml")
    asked.write_text(yaml.safe_dump({"services": {}, "x-asked": [text]}))
    answer = host.try_run(config([asked], variables, asked.parent))
    if answer.returncode:
        raise refused(answer.output, text, host)
    return str(yaml.load(answer.stdout, Yaml)["x-asked"][0])  # noqa: S506  # a SafeLoader


def left_out(known: Model, root: Path, own: Path, keys: Iterable[str]) -> tuple[str, ...]:
    """Name what the files ask for and services do not get, by the secrets file and its keys: files and names, never a value."""
    words, given, own = list(known.left_out), {*keys, *secrets.OWN}, shadow.tidy(own)
    for one in known.env_files:
        lacking = sorted(secrets.names(one.path) - given) if one.path != own else []
        alike = one.path == own or (one.path.parent in known.folders and SECRETS.fullmatch(one.path.name))
        lost = [text for text, there in (("required: false", not one.required), ("format: raw", one.raw)) if there]
        told = f"{one.service}: {shadow.relative(one.path, root)} is not read, the release's secrets stand in its place"
        told += f"; {', '.join(lacking)} are not among them: put them under environment, or into {own.name}" if lacking else ""
        told += f"; {', '.join(lost)} has no effect" if lost else ""
        words += [told] if lacking or lost or not alike else []
    for service in known.services:
        empty = [name for name, value in (service.spec.get("environment") or {}).items() if value is None]
        words += [
            f"{service.name}: {name} has no value under environment: it belongs into [variables], or into {own.name} with an env_file"
            for name in empty if not (service.has_secrets and name in given)
        ]  # fmt: skip
    return tuple(dict.fromkeys(words))


def alone(ask: Command) -> Command:
    """Run Compose without this shell's variables, which would win over those of the environment."""
    kept = [f"{name}={os.environ[name]}" for name in ("HOME", "PATH", "DOCKER_CONFIG") if name in os.environ]
    return command("env", "--ignore-environment", *kept, *ask.argv)


def refused(said: str, names: str, host: LocalHost) -> Refused:
    """Say what Compose found in the files."""
    require_plugin(host)
    then = "mend that (a missing variable belongs into [variables] of the environment), then inv plan"
    return Refused(f"Compose refuses the files:\n{said}", where=names, then=then)


def require_plugin(host: Host) -> None:
    """Refuse a Docker client without Compose, whose own message would blame an option."""
    if host.try_run(docker("compose", "version"), timeout=20).returncode:
        raise Refused("docker has no compose plugin", where=host.name, then="apt-get install docker-compose (or docker-compose-plugin)")


def check(merged: Mapping[str, Any], with_secrets: set[str], root: Path, names: str, others: Iterable[str] = ()) -> Model:
    """Turn what Compose merged into a model, or refuse with every mistake, `others` among them."""
    mistakes, services = list(others), []
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
