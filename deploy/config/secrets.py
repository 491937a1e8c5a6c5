"""Secrets: read from one file, checked against .env.example, written for one release.

python-dotenv alone parses the file. Docker Compose reads what `render` writes, which was tried against it for any value.
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
        then = f"inv secrets.init makes it from {EXAMPLE}" if example.exists() else f"make {path.name}, or mend the setting secrets"
        raise Refused(f"{path.name} does not exist", where=str(path), then=then)
    lines = {entry.key: line(entry) for entry in entries(path)}
    values = {key: value for key, value in parsed(path).items() if key not in OWN}
    reasons = mistakes(values, parsed(example), lines) + exposed(path)
    refuse("the secrets are not ready:", reasons, where=str(path), then=f"edit {path.name}")
    return values


def own(path: Path, key: str) -> str:
    """Read a secret that is for the toolkit alone, in clear; empty when it is not set.

    Raises Refused when the file cannot be understood, or others can read it.
    """
    value = "".join(parsed(path).get(key, ""))
    refuse(f"{key} is not ready:", exposed(path) if value else (), where=str(path), then=f"edit {path.name}")
    return value


def exposed(path: Path) -> list[str]:
    """Say that others can read a file of secrets; nothing when they cannot."""
    return [f"{path.name} can be read by others: chmod 600 {path.name}"] if stat.S_IMODE(path.stat().st_mode) & 0o077 else []


def parsed(path: Path) -> dict[str, Secret]:
    """Read a file of secrets, nothing when there is none; raise Refused naming each line that cannot be understood."""
    return {entry.key: Secret(entry.value or "") for entry in entries(path) if entry.key is not None}


def names(path: Path) -> set[str]:
    """List the names that a file sets, none when it cannot be read; what may be the rest of a value is no name."""
    from dotenv.parser import parse_stream

    try:
        found = list(parse_stream(StringIO(path.read_text(encoding="utf-8"))))
    except (OSError, UnicodeDecodeError):
        return set()
    return {entry.key for entry in found if entry.key and NAME.fullmatch(entry.key) and (entry.value or "").strip("=")}


def entries(path: Path) -> list[Binding]:
    """Read the entries of a file of secrets, none when there is no file; raise Refused naming each that cannot be understood."""
    from dotenv.parser import parse_stream

    found = list(parse_stream(StringIO(text_of(path)))) if path.exists() else []
    wrong = [f"line {line(entry)}" for entry in found if entry.error]
    refuse(f"{path.name} cannot be understood in:", wrong, where=str(path), then=f"edit {path.name}: is each quote closed?")
    return found


def text_of(path: Path) -> str:
    """Read a text; raise Refused when it cannot be read, or is none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise Refused(f"{path.name} is not UTF-8: {error.reason}", where=str(path), then=f"save {path.name} as UTF-8") from None
    except OSError as error:
        raise Refused(f"{path.name} cannot be read: {error.strerror}", where=str(path), then=f"mend {path.name}") from None


def line(entry: Binding) -> int:
    """Tell on which line an entry begins; empty ones before it are counted as its own."""
    text = entry.original.string
    return entry.original.line + len(text) - len(text.lstrip("\n"))


def mistakes(values: Mapping[str, str], documented: Collection[str], lines: Mapping[str | None, int]) -> list[str]:
    """List the keys that are missing or still hold a placeholder; never a value, nor a key that may be the rest of one."""
    stray = [key for key, value in values.items() if key not in documented and (not NAME.fullmatch(key) or not value.strip("="))]
    found = [f"line {lines[key]} is no NAME=value; a value of several lines stands in quotes" for key in stray]
    # what Compose reads otherwise: it would take part of the line for the name, or show all of it
    found += [f"`{key}` is no name of a variable" for key in documented if not NAME.fullmatch(key)]
    found += [f"{key} is missing (documented in {EXAMPLE})" for key in documented if key not in values and key not in OWN]
    return found + [f"{key} still holds a placeholder" for key, value in values.items() if key not in stray and is_placeholder(value)]


def is_placeholder(value: str) -> bool:
    """Tell whether a value is one that nobody chose."""
    return value.strip().lower() in PLACEHOLDERS or ("<" in value and ">" in value and "random" in value)


def generate(example: str) -> str:
    """Fill in an example: each `<random NAME>` becomes a value of its own, the same wherever NAME stands."""
    chosen = defaultdict[str, str](lambda: random.token_urlsafe(24))
    return re.sub(r"<random ([^>]*)>", lambda found: chosen[found[1]], example)


def create(path: Path, example: Path, host: LocalHost) -> bool:
    """Write a new secrets file from the example; False when there is one already, Refused when there is no example."""
    if path.exists():
        return False
    if not example.exists():
        raise Refused(
            f"there is no {EXAMPLE}", where=str(example), then=f"write it, or {path.name} itself; an app without secrets needs neither"
        )
    host.write(path, generate(text_of(example)), mode=0o600)
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
    return "".join(
        f'{key}="{"".join(ESCAPED.get(character, character) for character in value)}"\n' for key, value in sorted(values.items())
    )


def rendered(text: str) -> dict[str, str]:
    """Read back what `render` wrote; what else Python calls the end of a line is in values."""
    plain = {escaped: character for character, escaped in ESCAPED.items()}
    lines = (line.split("=", 1) for line in text.split("\n") if "=" in line)
    return {key: re.sub(r"\\.|\$\$", lambda found: plain.get(found[0], found[0]), value[1:-1]) for key, value in lines}


def masked(text: str, values: Iterable[str]) -> str:
    """Hide secrets in what a program printed; those of a few characters are words like any other."""
    shown = {form for value in values for form in forms(value) if len(form) >= SHORTEST}
    for form in sorted(shown, key=len, reverse=True):
        text = text.replace(form, "***")
    return text


def forms(value: str) -> Iterator[str]:
    """Yield what programs print of a value: it all, each of its lines, as a URL quotes it and as Python and JSON escape it."""
    for part in (value, *value.splitlines()):
        yield from (part, quote(part, safe=""), repr(part)[1:-1], json.dumps(part)[1:-1])
