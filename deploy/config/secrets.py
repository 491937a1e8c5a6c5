"""Secrets: read from one file, checked against .env.example, written for one release.

python-dotenv alone parses the file. Docker Compose reads what `render` writes, which is tested for any value.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets as random
import stat
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from deploy.config import text
from deploy.core.errors import Refused, refuse
from deploy.core.shell import Secret
from deploy.hosts.local import LocalHost

if TYPE_CHECKING:
    from dotenv.parser import Binding

EXAMPLE = ".env.example"
OWN = ("NOTIFY_URLS", "REGISTRY_PASSWORD")  # for the toolkit alone: optional, given to no container, part of no release
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
# what Compose would interpret inside double quotes
ESCAPED = {"\\": "\\\\", '"': '\\"', "$": "$$", "\n": "\\n", "\r": "\\r"}
SHORTEST = 6
PLACEHOLDERS = {"", "change-me", "changeme", "placeholder", "todo", "xxx", "secret", "password"}


def read(path: Path, example: Path, *, named: bool = False) -> dict[str, Secret]:
    """Read the secrets of one environment; none where neither file exists, unless the settings have `named` the first.

    Raises Refused, all reasons at once, when the file is missing, readable by others, lacks a key that the example
    documents, or still holds a placeholder.
    """
    if not path.exists() and not example.exists() and not named:
        return {}  # an app without secrets
    if not path.exists():
        otherwise = f"create {path.name}, or fix the setting secrets"
        then = f"inv secrets.init creates it from {EXAMPLE}" if example.exists() else otherwise
        raise Refused(f"{path.name} does not exist", where=str(path), then=then, slug="secrets-missing")
    lines = {entry.key: line(entry) for entry in entries(path)}
    values = {key: value for key, value in parsed(path).items() if key not in OWN}
    reasons = mistakes(values, parsed(example), lines) + exposed(path)
    refuse("the secrets are not ready:", reasons, where=str(path), then=f"edit {path.name}", slug="secrets-not-ready")
    return values


def own(path: Path, key: str) -> str:
    """Read a secret that is for the toolkit alone, in clear; empty when it is not set.

    Raises Refused when the file cannot be understood, or others can read it.
    """
    value = "".join(parsed(path).get(key, ""))
    refuse(
        f"{key} is not ready:",
        exposed(path) if value else (),
        where=str(path),
        then=f"edit {path.name}",
        slug="secrets-not-ready",
    )
    return value


def exposed(path: Path) -> list[str]:
    """Report that others can read a file of secrets; nothing when they cannot."""
    others = stat.S_IMODE(path.stat().st_mode) & 0o077
    return [f"{path.name} can be read by others: chmod 600 {path.name}"] if others else []


def parsed(path: Path) -> dict[str, Secret]:
    """Read a file of secrets, nothing when there is none; raise Refused naming each line that cannot be understood."""
    return {entry.key: Secret(entry.value or "") for entry in entries(path) if entry.key is not None}


def names(path: Path) -> set[str]:
    """List the names that a file sets, none when it cannot be read; what may be the rest of a value is no name."""
    from dotenv.parser import parse_stream

    try:
        bindings = list(parse_stream(StringIO(path.read_text(encoding="utf-8-sig"))))
    except (OSError, UnicodeDecodeError):
        return set()
    return {one.key for one in bindings if one.key and NAME.fullmatch(one.key) and (one.value or "").strip("=")}


def entries(path: Path) -> list[Binding]:
    """Read the entries of a file of secrets, none when there is no file; raise Refused naming each unclear line."""
    from dotenv.parser import parse_stream

    bindings = list(parse_stream(StringIO(text.read(path, path.name, str(path))))) if path.exists() else []
    wrong = [f"line {line(entry)}" for entry in bindings if entry.error]
    then = f"edit {path.name}: is each quote closed?"
    refuse(f"{path.name} cannot be understood in:", wrong, where=str(path), then=then, slug="secrets-invalid")
    return bindings


def line(entry: Binding) -> int:
    """Return the line on which an entry begins; the parser counts empty ones before it as its own."""
    original = entry.original.string
    return entry.original.line + len(original) - len(original.lstrip("\n"))


def mistakes(values: Mapping[str, str], documented: Collection[str], lines: Mapping[str | None, int]) -> list[str]:
    """List the keys that are missing or still hold a placeholder; never a value, nor what may be the rest of one."""
    undocumented = {key: value for key, value in values.items() if key not in documented}
    stray = [key for key, value in undocumented.items() if not NAME.fullmatch(key) or not value.strip("=")]
    placeholders = [key for key, value in values.items() if key not in stray and is_placeholder(value)]
    missing = [key for key in documented if key not in values and key not in OWN]
    return [
        *(f"line {lines[key]} is no NAME=value; a value of several lines stands in quotes" for key in stray),
        # what Compose reads otherwise: it would take part of the line for the name, or show all of it
        *(f"`{key}` is no name of a variable" for key in documented if not NAME.fullmatch(key)),
        *(f"{key} is missing (documented in {EXAMPLE})" for key in missing),
        *(f"{key} still holds a placeholder" for key in placeholders),
    ]


def is_placeholder(value: str) -> bool:
    """Tell whether a value is one that nobody chose."""
    return value.strip().lower() in PLACEHOLDERS or ("<" in value and ">" in value and "random" in value)


def generate(example: str) -> str:
    """Fill in an example: each `<random NAME>` becomes a value of its own, the same wherever NAME stands."""
    chosen = defaultdict[str, str](lambda: random.token_urlsafe(24))
    return re.sub(r"<random ([^>]*)>", lambda match: chosen[match[1]], example)


def create(path: Path, example: Path, host: LocalHost) -> bool:
    """Write a new secrets file from the example; False when there is one already, Refused when there is no example."""
    if path.exists():
        return False
    if not example.exists():
        then = f"write it, or {path.name} itself; an app without secrets needs neither"
        raise Refused(f"there is no {EXAMPLE}", where=str(example), then=then, slug="secrets-missing")
    host.write(path, generate(text.read(example, example.name, str(example))), mode=0o600)
    return True


def version(values: Mapping[str, str]) -> str:
    """Name a set of secrets without saying anything about them: 12 hex digits."""
    digest = hashlib.sha256()
    for key in sorted(values):
        for word in (key, values[key]):
            digest.update(f"{len(word)}:".encode() + word.encode())
    return digest.hexdigest()[:12]


def render(values: Mapping[str, str]) -> str:
    """Write values as an env_file that Docker Compose reads back to the letter."""
    escaped = {key: "".join(ESCAPED.get(character, character) for character in value) for key, value in values.items()}
    return "".join(f'{key}="{escaped[key]}"\n' for key in sorted(escaped))


def rendered(env: str) -> dict[str, str]:
    """Read back what `render` wrote; what else Python calls the end of a line is in values."""
    plain = {escaped: character for character, escaped in ESCAPED.items()}
    pairs = (line.split("=", 1) for line in env.split("\n") if "=" in line)
    return {key: re.sub(r"\\.|\$\$", lambda match: plain.get(match[0], match[0]), value[1:-1]) for key, value in pairs}


def masked(output: str, values: Iterable[str]) -> str:
    """Hide secrets in what a program printed; those of a few characters are words like any other."""
    shown = {form for value in values for form in forms(value) if len(form) >= SHORTEST}
    for form in sorted(shown, key=len, reverse=True):
        output = output.replace(form, "***")
    return output


def forms(value: str) -> Iterator[str]:
    """Yield what programs print of a value: it all, each line, as a URL quotes it and as Python and JSON escape it."""
    for part in (value, *value.splitlines()):
        yield from (part, quote(part, safe=""), repr(part)[1:-1], json.dumps(part)[1:-1])
