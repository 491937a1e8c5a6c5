"""The compose files as one checked model."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from deploy.config import secrets, shadow, text
from deploy.config.secrets.rules import is_placeholder_of, place_of
from deploy.config.shadow import EnvFile, Shadow, Values
from deploy.core import yaml
from deploy.core.errors import Reasons, Refused, nearest, refuse
from deploy.core.model import Deploy, Role, replicas_unfit, written_block
from deploy.core.shell import Command, command, docker
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost

# the name that Compose reads the files under; what it names after it is renamed
READING = "read"
# what an env_file is called that means the secrets of the environment, whichever that is
SECRETS = re.compile(r"\.env(\..+)?")
# what runs once per colour: two copies of it are there while a release comes into service
PER_COLOUR: tuple[Role, ...] = ("web", "worker", "scheduler", "job")
PROJECT = re.compile(r"(?<!\$)\$\{?COMPOSE_PROJECT_NAME\b")
# what Compose writes, quotes escaped, beside an exit code of 0
REQUIRED = re.compile(r"\$\{(\w+):?\?")
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
    unset: tuple[str, ...] = ()  # variables of which nothing says the value

    def of(self, *roles: Role) -> tuple[Service, ...]:
        """Return the services with one of these roles, in the files' order."""
        return tuple(service for service in self.services if service.role in roles)

    @property
    def web(self) -> tuple[Service, ...]:
        """The services that answer requests behind the edge."""
        return self.of("web")


def read(root: Path, names: Sequence[str], variables: Mapping[str, str], host: LocalHost) -> Model:
    """Read the compose files of a checkout; raise Refused with every mistake at once.

    Compose resolves copies, beside which a dummy lies for each env_file: it would print those values in clear. It is
    asked for YAML, since its JSON drops x- keys (seen with 2.26 and 5.6).
    """
    reasons, paths = Reasons(), [shadow.tidy(root / name) for name in names]
    base = paths[0].parent
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "variables")
        own.write_text(secrets.render(variables))
        copies = Shadow(
            shadow.tidy(root), Path(folder, "shadow"), variables, lambda template: interpolated(template, own, host)
        )  # fmt: skip
        for path in paths:
            with reasons:
                copies.copy(path, base, Values((), base / ".env"))
        if PROJECT.search(copies.used):
            then = "write a name of your own, or a variable of [variables]"
            copies.mistakes.append(f"$COMPOSE_PROJECT_NAME is another one for each colour and environment; {then}")
        reasons.refuse()
        answer = host.try_run(config([copies.at(path) for path in paths], own, copies.at(base)))
        if answer.returncode:
            raise refused(copies.plain(answer.output), ", ".join(names), host, required(copies.used, variables))
    try:
        merged = yaml.load_printed(answer.stdout.replace(str(copies.top), ""))
    except yaml.NotYaml as error:
        then = "remove the tab or line break that a value of several lines begins with, then inv plan"
        raise Refused(
            f"Compose prints what it cannot read: {error}", where=", ".join(names), then=then, slug="compose-invalid"
        ) from None
    specs = (merged.get("services") or {}).items()
    env_files = tuple(one for name, spec in specs for one in copies.taken_out(name, spec))
    model = check(merged, {one.service for one in env_files}, root, ", ".join(names), copies.mistakes)
    folders = tuple({copies.root, *(place for _, place in copies.copied)})
    unset = (name for name in UNSET.findall(answer.stderr) if re.search(rf"\$\{{?{name}\b", copies.used))
    blank = tuple(
        f"${name} is not set, and nothing stands in its place: put a value into {place_of(name)}"
        for name in dict.fromkeys(unset)
    )
    left_out = tuple(dict.fromkeys([*copies.left_out, *blank]))
    return replace(model, env_files=env_files, folders=folders, left_out=left_out, unset=blank)


def require_set(model: Model) -> None:
    """Refuse variables without a value: Compose puts nothing in their place, as in `postgres://u:@db/x`."""
    then = "that, then inv plan; ${NAME:-} where nothing is meant"
    refuse("compose files need values:", model.unset, where="compose files", then=then, slug="compose-invalid")


def require_chosen(model: Model) -> None:
    """Refuse placeholders that the files hold, often as Compose's own default: `${DB_PASSWORD:-changethis}`."""
    held = [
        f"{service.name}: {name} under environment is a placeholder: its value belongs into {place_of(name)}"
        for service in model.services
        for name, value in (service.spec.get("environment") or {}).items()
        if is_placeholder_of(name, str(value or ""))
    ]
    then = "put values of your own there, then inv plan"
    refuse("compose files hold placeholders:", held, where="compose files", then=then, slug="compose-invalid")


def config(files: Iterable[Path], variables: Path, folder: Path) -> Command:
    """Ask Compose to resolve files, whatever their profiles."""
    words = (word for path in files for word in ("--file", str(path)))
    place = ("--project-directory", str(folder), "--env-file", str(variables))
    return alone(docker("compose", "--project-name", READING, *words, *place, "--profile", "*", "config"))


def interpolated(template: str, variables: Path, host: LocalHost) -> str:
    """Interpolate a text as Compose does; raise Refused when it cannot."""
    file = variables.with_name("template.yml")
    file.write_text(yaml.dump({"services": {}, "x-template": template}), encoding="utf-8")
    answer = host.try_run(config([file], variables, file.parent))
    if answer.returncode:
        raise refused(answer.output, template, host)
    return str(yaml.load_printed(answer.stdout)["x-template"])


def left_out(model: Model, root: Path, own: Path, keys: Iterable[str], place: str = "") -> tuple[str, ...]:
    """Name what the files ask for and services do not get, by the secrets file and its keys; never a value.

    `place` is what messages call where the secrets are, when that is not the file.
    """
    words, given, own, place = list(model.left_out), {*keys, *secrets.OWN}, shadow.tidy(own), place or own.name
    for one in model.env_files:
        words += unread(one, model, root, own, given, place)
    for service in model.services:
        empty = [name for name, value in (service.spec.get("environment") or {}).items() if value is None]
        unset = [name for name in empty if not (service.has_secrets and name in given)]
        places = {name: place_of(name, place) for name in unset}
        words += [
            f"{service.name}: {name} has no value under environment: it belongs into {places[name]}" for name in unset
        ]
    return tuple(dict.fromkeys(words))


def unread(one: EnvFile, model: Model, root: Path, own: Path, given: set[str], place: str) -> list[str]:
    """Explain in one line what a service loses when the release's secrets replace its env_file; empty for nothing."""
    lacking = sorted(secrets.names(one.path) - given) if one.path != own else []
    alike = one.path == own or (one.path.parent in model.folders and SECRETS.fullmatch(one.path.name))
    lost = [key for key, there in (("required: false", not one.required), ("format: raw", one.raw)) if there]
    if alike and not lacking and not lost:
        return []
    file = f"{one.service}: {shadow.relative(one.path, root)}"
    parts = [f"{file} is not read, the release's secrets stand in its place"]
    if lacking:
        parts.append(f"{', '.join(lacking)} are not among them: put them under environment, or into {place}")
    if lost:
        parts.append(f"{', '.join(lost)} has no effect")
    return ["; ".join(parts)]


def alone(ask: Command) -> Command:
    """Run Compose without any variable of this shell, HOME and PATH among them: they would win over the settings."""
    program, *words = ask.argv
    plugins = os.environ.get("DOCKER_CONFIG") or os.path.expanduser("~/.docker")  # noqa: PTH111  # none without a home
    return command("env", "--ignore-environment", shutil.which(program) or program, "--config", plugins, *words)


def required(text: str, variables: Mapping[str, str]) -> list[str]:
    """Say of each `${NAME:?}` without a value where that belongs: Compose names the first alone."""
    names = dict.fromkeys(name for name in REQUIRED.findall(text) if not variables.get(name))
    return [f"${name} is required and not set: put a value into {place_of(name)}" for name in names]


def refused(message: str, names: str, host: LocalHost, missing: Iterable[str] = ()) -> Refused:
    """Make an error of Compose's own message about the files, and of variables that are missing."""
    require_plugin(host)
    words = "\n".join([f"Compose refuses the files:\n{message}", *missing])
    return Refused(words, where=names, then="fix that, then inv plan", slug="compose-invalid")


def require_plugin(host: Host) -> None:
    """Refuse a Docker client without Compose, whose own message would blame an option."""
    if host.try_run(docker("compose", "version"), timeout=20).returncode:
        then = "apt-get install docker-compose (or docker-compose-plugin)"
        raise Refused("docker has no compose plugin", where=host.name, then=then, slug="compose-missing")


def check(
    merged: Mapping[str, Any], with_secrets: set[str], root: Path, names: str, others: Iterable[str] = ()
) -> Model:  # fmt: skip
    """Turn what Compose merged into a model, or refuse with every mistake, `others` among them."""
    mistakes, services = list(others), []
    for name, spec in (merged.get("services") or {}).items():
        try:
            block = written_block(spec.get("x-deploy", {}))
            services.append(Service(name, block, spec, name in with_secrets))
        except ValidationError as error:
            mistakes += [f"service {name}: {explain(mistake)}" for mistake in error.errors()]
        mistakes += [f"service {name}: {reason}" for reason in unfit(spec, root)]
    then = "not rendered per colour; use an image, a volume or env_file"
    mistakes += [f"top-level {key}: {then}" for key in ("configs", "secrets") if merged.get(key)]
    of_colours = (service for service in services if service.role in PER_COLOUR)
    mistakes += [f"service {one.name}: {reason}" for one in of_colours for reason in shared_by_colours(one.spec)]
    model = Model(tuple(services), merged.get("networks") or {}, merged.get("volumes") or {})
    mistakes += inconsistencies(model) if not mistakes else []
    title = f"the compose files have {len(mistakes)} mistake(s):"
    refuse(title, mistakes, where=names, then="fix them, then inv plan", slug="compose-invalid")
    return model


def explain(mistake: Any) -> str:
    """Describe one mistake of an x-deploy block."""
    path = ".".join(str(part) for part in mistake["loc"])
    if path == "role" and mistake["type"] == "missing":
        return "no x-deploy role; one of web, worker, scheduler, job, data, edge, backup"
    if mistake["type"] == "extra_forbidden":
        keys = ", ".join(Deploy.model_fields)
        return f"x-deploy.{path}: unknown key{nearest(path, Deploy.model_fields)}; the keys are {keys}"
    return f"x-deploy{'.' if path else ''}{path}: {text.in_words(mistake)}"


def unfit(spec: Mapping[str, Any], checkout: Path) -> Iterable[str]:
    """Name what would not be there on another host."""
    for mount in spec.get("volumes", []):
        if mount.get("type") == "bind" and Path(mount["source"]).is_relative_to(checkout):
            source = Path(mount["source"]).relative_to(checkout)
            owner = "whoever deploys" if source.parts[:1] == ("~",) else "this checkout"
            yield f"mounts {source} of {owner}, which another host does not have; put it into the image or a volume"
    shares_network = str(spec.get("network_mode", "")).partition(":")[0] in ("service", "container")
    if shares_network or spec.get("links") or spec.get("external_links"):
        yield "shares another service's network; colours have names of their own, use networks"
    if not spec.get("image"):
        yield "no image; name the one that is built (docker/bake.hcl) or pulled"


def shared_by_colours(spec: Mapping[str, Any]) -> Iterable[str]:
    """Name what two colours, which run next to each other, cannot both have, or would both answer to."""
    for network, joined in (spec.get("networks") or {}).items():
        options = joined or {}
        for key in ("ipv4_address", "ipv6_address", "link_local_ips", "mac_address"):
            if options.get(key):
                yield f"networks.{network}.{key} is one address for both colours: the second does not start; remove it"
    if spec.get("mac_address"):
        yield "mac_address is one address for both colours: the second does not start; remove it"
    if spec.get("volumes_from"):
        yield "volumes_from names a container, and each colour has its own; name the volumes under volumes"
    for key in ("pid", "ipc"):
        if str(spec.get(key, "")).partition(":")[0] in ("service", "container"):
            yield f"{key}: {spec[key]} names a container, and each colour has its own; remove it"


def names_on_networks(model: Model, asking: Service) -> Iterable[str]:
    """Yield the names without a dot by which a service reaches others: theirs, their aliases, its own extra hosts."""
    for service in model.services:
        yield service.name
        for attached in (service.spec.get("networks") or {}).values():
            yield from (attached or {}).get("aliases") or ()
    yield from (re.split("[:=]", host)[0] for host in asking.spec.get("extra_hosts") or ())


def inconsistencies(model: Model) -> Iterable[str]:
    """Name what is right by itself but not together."""
    if not model.web:
        yield "no service has the role web"
    if len(model.of("edge")) != 1:
        yield "exactly one service must have the role edge"
    for role in ("backup", "certificates", "wal"):
        if len(model.of(role)) > 1:
            yield f"more than one service has the role {role}"
    if model.of("wal") and not model.of("backup"):
        yield "a service has the role wal, and none has the role backup, which restores what it received"
    for service in model.of("backup", "wal"):
        server = str((service.spec.get("environment") or {}).get("PGHOST") or "")
        if re.fullmatch(r"[\w-]+", server) and server not in {"localhost", *names_on_networks(model, service)}:
            yield f"service {service.name}: PGHOST is {server}, which is no service of the compose files"
    for service in model.web:
        if service.deploy.port is None:
            yield f"service {service.name}: x-deploy.port is missing"
        if not any(set(service.networks) & set(edge.networks) for edge in model.of("edge")):
            yield f"service {service.name}: shares no network with the edge"
    for service in model.of("certificates"):
        if not any(set(service.networks) & set(edge.networks) for edge in model.of("edge")):
            yield f"service {service.name}: shares no network with the edge, which it shakes hands with"
    for service in model.services:
        reason = replicas_unfit(service.role, service.replicas)
        if reason:
            yield f"service {service.name}: {reason}"
    if len(model.of("scheduler")) > 1:
        yield "more than one service has the role scheduler"
