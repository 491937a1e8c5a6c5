"""Copies of the compose files, for Compose to resolve where no value is near.

Compose reads each env_file while it resolves `extends` and `include`. The copies lie as the files do, and in place of
each env_file lies a dummy that sets a marker: Compose carries it wherever it would have carried the values. See
decision 0017.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ruamel.yaml.nodes import MappingNode, Node, SequenceNode

from deploy.config import secrets, text
from deploy.config.secrets.rules import place_of
from deploy.core import yaml
from deploy.core.errors import Refused

MARKER = "OPS_ENV_FILE_"
# how Compose itself begins the name of a network or volume
GIVEN = r"\$\{COMPOSE_PROJECT_NAME(:?[-?][^}]*)?\}_"


@dataclass(frozen=True)
class EnvFile:
    """An env_file of a service, as a compose file has it."""

    service: str
    path: Path
    required: bool
    raw: bool


@dataclass(frozen=True)
class Values:
    """The files that Compose would take variables from: those that an include names, and the one that nobody names."""

    named: tuple[Path, ...]
    nearby: Path


@dataclass
class Shadow:
    """A folder of copies, which lie below `top` as the files themselves lie below `/`.

    `interpolate` is how Compose reads a text.
    """

    root: Path
    top: Path
    variables: Mapping[str, str]
    interpolate: Callable[[str], str]
    copied: set[tuple[Path, Path]] = field(default_factory=set)
    env_files: dict[Path, list[EnvFile]] = field(default_factory=dict)
    used: str = ""
    mistakes: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def at(self, path: Path) -> Path:
        """Return where a file is in the shadow."""
        return self.top / path.relative_to("/")

    def copy(self, path: Path, folder: Path, values: Values) -> None:
        """Copy a compose file and all that it extends and includes; its own names are relative to `folder`."""
        if (path, folder) in self.copied:
            return
        self.copied.add((path, folder))
        name = relative(path, self.root)
        original = text.read(path, name)
        document = load(original, name)
        self.used += used(document)
        self.name_unread(name, used(document), values)
        for entry in listed(document.get("include")):
            self.include(entry, folder, name, values)
        for service, spec in (document.get("services") or {}).items():
            self.service(service, spec if isinstance(spec, dict) else {}, folder, name, values)
        put(self.at(path), without_formats(original).replace(f"{self.root}/", f"{self.at(self.root)}/"))

    def include(self, entry: Any, folder: Path, within: str, values: Values) -> None:
        """Copy what one entry of `include` names; its own variables are left out."""
        spec = entry if isinstance(entry, dict) else {"path": entry}
        paths = [self.file(path, folder, within) for path in listed(spec.get("path"))]
        own = [self.file(path, folder, within) for path in listed(spec.get("env_file"))]
        base = self.file(spec["project_directory"], folder, within) if spec.get("project_directory") else None
        for path in own:
            if not self.at(path).exists():  # a service may name it too
                put(self.at(path), "")
        for path in paths:
            place = base or paths[0].parent
            self.copy(path, place, Values((*values.named, *own), values.nearby if own else place / ".env"))

    def service(self, service: str, spec: Mapping[str, Any], folder: Path, within: str, values: Values) -> None:
        """Copy the file that a service extends, and put a dummy in place of each of its env_files."""
        extended = spec.get("extends")
        if isinstance(extended, dict) and extended.get("file"):
            path = self.file(extended["file"], folder, within)
            self.copy(path, path.parent, values)
        for entry in listed(spec.get("env_file")):
            long = entry if isinstance(entry, dict) else {"path": entry}
            path, required = self.file(long.get("path"), folder, within), long.get("required", True)
            raw = long.get("format") == "raw"
            env_file = EnvFile(service, path, str(required).lower() != "false", raw)
            self.env_files.setdefault(path, []).append(env_file)
            put(self.at(path), f"{MARKER}{list(self.env_files).index(path)}=1\n")
        for entry in listed(spec.get("label_file")):
            put(self.at(self.file(entry, folder, within)), "")
            reason = "its values would stand in clear; put them under labels"
            self.mistakes.append(f"service {service}: label_file of {within}: {reason}")

    def file(self, name: Any, folder: Path, within: str) -> Path:
        """Return the file that a compose file names; refuse a place that only this machine has."""
        filled = self.interpolate(name) if "$" in str(name) else str(name)
        path = tidy(folder / filled)
        if Path(filled).is_absolute() and not str(name).startswith(f"{self.root}/"):
            then = f"put it beside the compose files, and name it in {within} by its way from there"
            raise Refused(
                f"{within} names {name}, which another machine does not have",
                where=within,
                then=then,
                slug="compose-invalid",
            )
        return path

    def name_unread(self, name: str, names: str, values: Values) -> None:
        """Name the variables of a compose file whose values are in a file that is not read.

        A release is made by the settings.
        """
        for path in (*values.named, values.nearby):
            for key in sorted(secrets.names(path) - self.variables.keys()):
                use = re.search(rf"(?<!\$)\$(?:{key}\b|\{{{key}(?P<default>:?[-+])?)", names)
                words = f"{name}: ${key} has its value in {relative(path, self.root)}, which is not read"
                if use and use["default"] and path not in values.named:
                    then = f"another value belongs into {place_of(key)}"
                    self.left_out.append(f"{words}, so that its default holds: {then}")
                elif use:
                    self.mistakes.append(f"{words}: put it into {place_of(key)}")

    def taken_out(self, service: str, spec: Mapping[str, Any]) -> list[EnvFile]:
        """Remove the markers from a resolved service; return the env_files that it has, its own and inherited ones."""
        environment = spec.get("environment") or {}
        markers = [key for key in environment if key.startswith(MARKER)]
        numbers = sorted(int(key.removeprefix(MARKER)) for key in markers if environment.pop(key))
        env_files: list[EnvFile] = []
        for named in (list(self.env_files.values())[number] for number in numbers):
            own = [one for one in named if one.service == service]
            env_files += own or [replace(named[0], service=service)]
        return env_files

    def plain(self, message: str) -> str:
        """Name the files themselves in Compose's message about their copies."""
        return message.replace(f"{self.at(self.root)}/", "").replace(str(self.top), "")


# parts of a service that are for a checkout alone
UNUSED = ("build", "container_name", "develop")


def load(original: str, name: str) -> dict[str, Any]:
    """Read the text of one compose file."""
    then = f"fix {name}, then inv plan"
    try:
        document = yaml.load(original)
    except yaml.NotYaml as error:
        raise Refused(f"{name} is not YAML: {error}", where=name, then=then, slug="compose-invalid") from None
    if not isinstance(document, dict) or not isinstance(document.get("services", {}) or {}, dict):
        raise Refused(f"{name} is not a compose file: no services", where=name, then=then, slug="compose-invalid")
    return document


def without_formats(original: str) -> str:
    """Empty the `format` of each env_file: Compose 2.26 knows the key and no value of it, and a dummy needs none."""
    if "format" not in original:
        return original
    spans = set[tuple[int, int]]()
    for service in entries(entries(yaml.nodes(original)).get("services")).values():
        for entry in getattr(entries(service).get("env_file"), "value", None) or ():
            if (node := entries(entry).get("format")) is not None:
                spans.add((node.start_mark.index, node.end_mark.index))
    for start, end in sorted(spans, reverse=True):
        original = f'{original[:start]}""{original[end:]}'
    return original


def entries(node: Any) -> dict[str, Node]:
    """Return a mapping's entries, merged ones too; none of anything else."""
    values: dict[str, Node] = {}
    for key, value in node.value if isinstance(node, MappingNode) else ():
        merged = value.value if isinstance(value, SequenceNode) else [value]
        own = {str(key.value): value}
        values |= {k: v for one in merged for k, v in entries(one).items()} if key.value == "<<" else own
    return values


def used(document: Mapping[str, Any]) -> str:
    """Return as one text what containers, networks and volumes are made of; images are built elsewhere."""
    specs = (spec for spec in (document.get("services") or {}).values() if isinstance(spec, dict))
    services = [{key: value for key, value in spec.items() if key not in UNUSED} for spec in specs]
    return str([services, *(own_names(document.get(kind)) for kind in ("networks", "volumes"))])


def own_names(declared: Any) -> Any:
    """Return networks or volumes without a name that is the one they have without it."""
    if not isinstance(declared, dict):
        return declared
    return {
        name: {
            key: value
            for key, value in spec.items()
            if key != "name" or not re.fullmatch(f"{GIVEN}{re.escape(str(name))}", str(value))
        }
        for name, spec in declared.items()
        if isinstance(spec, dict)
    }


def put(path: Path, content: str) -> None:
    """Write a file of the shadow, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, encoding="utf-8")


def listed(value: Any) -> list[Any]:
    """Return a list as it is, one value as a list, nothing as an empty one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def tidy(path: Path) -> Path:
    """Return a path from the top, without a step back; links stay as they are, as for Compose."""
    return Path(os.path.normpath(path.absolute()))


def relative(path: Path, root: Path) -> str:
    """Return a file's name as a person knows it."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
