"""Copies of the compose files, for Compose to resolve where no value is near.

Compose reads each env_file while it resolves `extends` and `include`. The copies lie as the files do, and in place of each
env_file lies a dummy that sets a marker: Compose carries it wherever it would have carried the values. See decision 0017.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from deploy.config import secrets
from deploy.core.errors import Refused

MARKER = "OPS_ENV_FILE_"


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

    def construct_tagged(self, _: str, node: yaml.Node) -> Any:
        """Read what Compose's own tags stand before: after `!reset` nothing, after `!override` what is there."""
        if node.tag == "!reset":
            return None
        if isinstance(node, yaml.MappingNode):
            return self.construct_mapping(node, deep=True)
        return self.construct_sequence(node, deep=True) if isinstance(node, yaml.SequenceNode) else node.value


Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))
Yaml.add_implicit_resolver("tag:yaml.org,2002:int", re.compile("[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789"))
Yaml.add_constructor("tag:yaml.org,2002:merge", lambda *_: "<<")  # as a value it is text
Yaml.add_multi_constructor("!", Yaml.construct_tagged)


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
    """A folder of copies, which lie below `top` as the files themselves lie below `/`; `interpolate` is how Compose reads a text."""

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
        document, text = load(path, name), path.read_text()
        self.used += used(document)
        self.name_unread(name, used(document), values)
        for entry in listed(document.get("include")):
            self.include(entry, folder, name, values)
        for service, spec in (document.get("services") or {}).items():
            self.service(service, spec if isinstance(spec, dict) else {}, folder, name, values)
        put(self.at(path), without_formats(text).replace(f"{self.root}/", f"{self.at(self.root)}/"))

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
            known = entry if isinstance(entry, dict) else {"path": entry}
            path, required = self.file(known.get("path"), folder, within), str(known.get("required", True)).lower() != "false"
            self.env_files.setdefault(path, []).append(EnvFile(service, path, required, known.get("format") == "raw"))
            put(self.at(path), f"{MARKER}{list(self.env_files).index(path)}=1\n")
        for entry in listed(spec.get("label_file")):
            put(self.at(self.file(entry, folder, within)), "")
            self.mistakes.append(f"service {service}: label_file of {within}: its values would stand in clear; put them under labels")

    def file(self, text: Any, folder: Path, within: str) -> Path:
        """Return the file that a compose file names; refuse a place that only this machine has."""
        filled = self.interpolate(text) if "$" in str(text) else str(text)
        path = tidy(folder / filled)
        if Path(filled).is_absolute() and not str(text).startswith(f"{self.root}/"):
            then = f"put it beside the compose files, and name it in {within} by its way from there"
            raise Refused(f"{within} names {text}, which another machine does not have", where=within, then=then)
        return path

    def name_unread(self, name: str, text: str, values: Values) -> None:
        """Name the variables of a compose file whose values are in a file that is not read: a release is made by the settings."""
        for path in (*values.named, values.nearby):
            for key in sorted(secrets.names(path) - self.variables.keys()):
                use = re.search(rf"(?<!\$)\$(?:{key}\b|\{{{key}(?P<default>:?[-+])?)", text)
                words = f"{name}: ${key} has its value in {relative(path, self.root)}, which is not read"
                if use and use["default"] and path not in values.named:
                    self.left_out.append(f"{words}, so that its default holds: another value belongs into [variables]")
                elif use:
                    then = "put it into [variables]; a secret into the secrets file, and give the service an env_file"
                    self.mistakes.append(f"{words}: {then}")

    def taken_out(self, service: str, spec: Mapping[str, Any]) -> list[EnvFile]:
        """Remove the markers from a resolved service; return the env_files that it has, its own and inherited ones."""
        environment = spec.get("environment") or {}
        numbers = {int(key.removeprefix(MARKER)) for key in list(environment) if key.startswith(MARKER) and environment.pop(key)}
        found = []
        for number in sorted(numbers):
            named = list(self.env_files.values())[number]
            found += [known for known in named if known.service == service] or [replace(named[0], service=service)]
        return found

    def plain(self, text: str) -> str:
        """Name the files themselves in what Compose has said of their copies."""
        return text.replace(f"{self.at(self.root)}/", "").replace(str(self.top), "")


# parts of a service that are for a checkout alone
UNUSED = ("build", "container_name", "develop")


def load(path: Path, name: str) -> dict[str, Any]:
    """Read one compose file."""
    try:
        document = yaml.load(path.read_text(), Yaml)  # noqa: S506  # a SafeLoader
    except OSError as error:
        raise Refused(f"{name} cannot be read: {error.strerror}", where=name, then=f"mend {name}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise Refused(f"{name} is not YAML: {error}", where=name, then=f"mend {name}, then inv plan") from None
    if not isinstance(document, dict) or not isinstance(document.get("services", {}) or {}, dict):
        raise Refused(f"{name} is not a compose file: no services", where=name, then=f"mend {name}, then inv plan")
    return document


def without_formats(text: str) -> str:
    """Empty the `format` of each env_file: Compose 2.26 knows the key and no value of it, and a dummy needs none."""
    spans, document = set[tuple[int, int]](), yaml.compose(text, Yaml)
    for service in entries(entries(document).get("services")).values():
        for entry in getattr(entries(service).get("env_file"), "value", None) or ():
            if (node := entries(entry).get("format")) is not None:
                spans.add((node.start_mark.index, node.end_mark.index))
    for start, end in sorted(spans, reverse=True):
        text = f'{text[:start]}""{text[end:]}'
    return text


def entries(node: Any) -> dict[str, yaml.Node]:
    """Return a mapping's entries, merged ones too; none of anything else."""
    found: dict[str, yaml.Node] = {}
    for key, value in node.value if isinstance(node, yaml.MappingNode) else ():
        merged = value.value if isinstance(value, yaml.SequenceNode) else [value]
        found |= {k: v for one in merged for k, v in entries(one).items()} if key.value == "<<" else {str(key.value): value}
    return found


def used(document: Mapping[str, Any]) -> str:
    """Return as one text what containers, networks and volumes are made of; images are built elsewhere."""
    services = [{k: v for k, v in spec.items() if k not in UNUSED} for spec in (document.get("services") or {}).values() if spec]
    return str([services, document.get("networks"), document.get("volumes")])


def put(path: Path, text: str) -> None:
    """Write a file of the shadow, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def listed(value: Any) -> list[Any]:
    """Return a list as it is, one value as a list, nothing as an empty one."""
    return value if isinstance(value, list) else [] if value is None else [value]


def tidy(path: Path) -> Path:
    """Return a path from the top, without a step back; links stay as they are, as for Compose."""
    return Path(os.path.normpath(path.absolute()))


def relative(path: Path, root: Path) -> str:
    """Return a file's name as a person knows it."""
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
