"""YAML 1.2: read as Compose reads it, written so that no reader takes a text for anything else. See decision 0021."""

from __future__ import annotations

import re
from collections.abc import Mapping
from io import StringIO
from math import isinf
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import Node, ScalarNode
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.resolver import VersionedResolver

TAG = "tag:yaml.org,2002:"
# what each type looks like, and its first characters; the library's own rules also take `1_000`, `0b1` and dates
CORE_SCHEMA = (
    ("null", r"|~|null|Null|NULL", ("", *"~nN")),
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]{1,300}|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("float", r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", "-+."),
)
# people write it as a key; it is not part of the schema, and Compose writes a label of that name without quotes
MERGE = ("merge", "<<", "<")
# a key that needs no quotes, for a reader of YAML 1.1 neither
PLAIN_KEY = re.compile(r"(?!(?i:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z_][A-Za-z0-9_.-]*")


class NotYaml(ValueError):
    """A text is not YAML; says why, and on which line."""


def by_first_character(*rules: tuple[str, str, Any]) -> dict[str, list[tuple[str, re.Pattern[str]]]]:
    """Index what plain words mean by how they begin."""
    index: dict[str, list[tuple[str, re.Pattern[str]]]] = {}
    for name, pattern, first in rules:
        for character in first:
            index.setdefault(character, []).append((TAG + name, re.compile(rf"(?:{pattern})\Z")))
    return index


class Rendered(VersionedResolver):
    """The core schema of YAML 1.2 (10.3.2)."""

    versioned_resolver = by_first_character(*CORE_SCHEMA)


class Written(VersionedResolver):
    """The core schema with merge keys."""

    versioned_resolver = by_first_character(*CORE_SCHEMA, MERGE)


class Constructor(SafeConstructor):
    """Make plain values; a number that no reader can hold is text, as for Compose."""

    def construct_yaml_float(self, node: Any) -> Any:
        """Return a number, or the text of one that is too large: `1e999` may be a hash."""
        number = super().construct_yaml_float(node)
        return node.value if isinf(number) and "inf" not in node.value.lower() else number

    def construct_tagged(self, _: str, node: Any) -> Any:
        """Read what Compose's own tags stand before: after `!reset` nothing, after `!override` what is there."""
        if node.tag == "!reset":
            return None
        plain = isinstance(node, ScalarNode) and not node.style
        tag = self.resolver.resolve(type(node), node.value, (plain, True))
        return self.construct_non_recursive_object(node, str(tag))

    def check_mapping_key(self, _node: Any, key_node: Any, mapping: Any, key: Any, _value: Any) -> bool:
        """Refuse a key that stands twice; the library's own message shows values."""
        if key in mapping:
            raise MarkedYAMLError(problem=f"the key {key} stands twice", problem_mark=key_node.start_mark)
        return True


Constructor.add_constructor(f"{TAG}float", Constructor.construct_yaml_float)
Constructor.add_constructor(f"{TAG}merge", lambda *_: "<<")  # as a value it is text
Constructor.add_multi_constructor("!", Constructor.construct_tagged)


class Representer(SafeRepresenter):
    """Write plain values: each text in quotes, nothing by reference."""

    def represent_str(self, data: str) -> ScalarNode:
        """Write a text."""
        return self.represent_scalar(f"{TAG}str", data, style='"')

    def represent_key(self, data: Any) -> Any:
        """Write a key, without quotes where it is an ordinary name."""
        node = self.represent_data(data)
        if isinstance(data, str) and PLAIN_KEY.fullmatch(data):
            node.style = None
        return node

    def ignore_aliases(self, _data: Any) -> bool:
        """Write each value where it stands."""
        return True


Representer.add_representer(str, Representer.represent_str)


class Yaml(YAML):
    """The library without plug-ins: each object looks for their files, which takes longer than to read."""

    def official_plug_ins(self) -> list[str]:
        """Return none."""
        return []


def load(text: str) -> Any:
    """Read what people wrote; raise NotYaml."""
    return read(parser(Written), "load", text)


def nodes(text: str) -> Node | None:
    """Read where things stand in what people wrote; raise NotYaml."""
    tree: Node | None = read(parser(Written), "compose", text)
    return tree


def load_printed(text: str) -> Any:
    """Read what Compose printed, every `$` doubled; raise NotYaml."""
    return read(parser(Rendered, pure=False), "load", text.replace("$$", "$"))


def load_rendered(text: str) -> Any:
    """Read what `dump_rendered` wrote; raise NotYaml."""
    return with_values(read(parser(Rendered, pure=False), "load", text), "$$", "$")


def parser(resolver: type[VersionedResolver], *, pure: bool = True) -> YAML:
    """Make a parser.

    The one in C is six times as fast and breaks lines where Compose does. It refuses `[22:22]`, which people write.
    """
    yaml = Yaml(typ="safe", pure=pure)
    yaml.Resolver, yaml.Constructor = resolver, Constructor
    return yaml


def read(yaml: YAML, method: str, text: str) -> Any:
    """Apply one method of a parser to a text; raise NotYaml with the line."""
    try:
        return getattr(yaml, method)(text)
    except MarkedYAMLError as error:
        mark, begin = error.problem_mark or error.context_mark, error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        line += f" (in what begins on line {begin.line + 1})" if begin and begin.line != mark.line else ""
        raise NotYaml(f"{error.problem or error.context}{line}") from None
    except YAMLError as error:
        raise NotYaml(str(error)) from None
    except RecursionError:
        raise NotYaml("it is nested too deeply") from None
    except (ValueError, TypeError, KeyError):
        raise NotYaml("a value is not what its tag says (!!int, !!bool)") from None


def dump(document: Any) -> str:
    """Write a document that says the same every time."""
    yaml, stream = Yaml(typ="safe"), StringIO()
    yaml.Representer = Representer
    yaml.default_flow_style, yaml.width = False, 2**30
    yaml.dump(document, stream)
    return stream.getvalue()


def dump_rendered(document: Mapping[str, Any]) -> str:
    """Write a document for Compose, which reads `$$` as `$`, but for keys: a label's is taken as it is."""
    return dump(with_values(document, "$", "$$"))


def with_values(node: Any, old: str, new: str) -> Any:
    """Return a document in whose values, but not its keys, a text is replaced. Pure."""
    if isinstance(node, Mapping):
        return {key: with_values(value, old, new) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [with_values(value, old, new) for value in node]
    return node.replace(old, new) if isinstance(node, str) else node
