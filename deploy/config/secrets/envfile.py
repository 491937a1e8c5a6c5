"""The form of secrets: NAME=value in a text that people wrote, and in the file that Docker Compose reads.

python-dotenv alone parses the first. Compose reads what `render` writes, which is tested for any value.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.core.errors import refuse
from deploy.core.shell import Secret

if TYPE_CHECKING:
    from dotenv.parser import Binding

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
OPTIONAL = re.compile(r"(?:^|\s)#\s*optional\b[^\"']*$", re.IGNORECASE)
# `NAME= # words`: python-dotenv alone takes the comment for the value
COMMENTED = re.compile(r"[^=#]*=[^\S\r\n]+#")
# what Compose would interpret inside double quotes
ESCAPED = {"\\": "\\\\", '"': '\\"', "$": "$$", "\n": "\\n", "\r": "\\r"}


@dataclass(frozen=True)
class Text:
    """A text of NAME=value: its content, what messages call it, where it is, and how a person changes it."""

    content: str
    name: str
    where: str
    then: str


def entries(text: Text) -> list[Binding]:
    """Read the entries of a text; raise Refused naming each line that cannot be understood."""
    bindings = parse(text.content)
    wrong = [f"line {line(entry)}" for entry in bindings if entry.error]
    then = f"{text.then}: is each quote closed?"
    refuse(f"{text.name} cannot be understood in:", wrong, where=text.where, then=then, slug="secrets-invalid")
    return bindings


def parse(content: str) -> list[Binding]:
    """Read the entries of a text, those that cannot be understood among them."""
    from dotenv.parser import parse_stream

    return list(parse_stream(StringIO(content)))


def values(bindings: Sequence[Binding]) -> dict[str, Secret]:
    """Return what entries set."""
    commented = {entry.key for entry in bindings if COMMENTED.match(entry.original.string)}
    return {
        entry.key: Secret("" if entry.key in commented else entry.value or "")
        for entry in bindings
        if entry.key is not None
    }


def optional(bindings: Sequence[Binding]) -> set[str]:
    """Name the keys with `# optional` behind the value, or in the comment that stands right above."""
    keys, above = set[str](), False
    for entry in bindings:
        words = entry.original.string
        above = bool(OPTIONAL.search(words.strip())) or (above and not words.startswith("\n"))
        if entry.key is not None:
            keys |= {entry.key} if above else set()
            above = False
    return keys


def names(path: Path) -> set[str]:
    """List the names that a file sets, none when it cannot be read; what may be the rest of a value is no name."""
    try:
        bindings = parse(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError):
        return set()
    return {one.key for one in bindings if one.key and NAME.fullmatch(one.key) and (one.value or "").strip("=")}


def line(entry: Binding) -> int:
    """Return the line on which an entry begins; the parser counts empty ones before it as its own."""
    original = entry.original.string
    return entry.original.line + len(original) - len(original.lstrip("\n"))


def version(secrets: Mapping[str, str]) -> str:
    """Name a set of secrets without saying anything about them: 12 hex digits."""
    digest = hashlib.sha256()
    for key in sorted(secrets):
        for word in (key, secrets[key]):
            digest.update(f"{len(word)}:".encode() + word.encode())
    return digest.hexdigest()[:12]


def fingerprint(value: str) -> str:
    """Name one value without showing it."""
    return hashlib.sha256(value.encode()).hexdigest()[:16]


def render(secrets: Mapping[str, str]) -> str:
    """Write secrets as an env_file that Docker Compose reads back to the letter."""
    escaped = {key: "".join(ESCAPED.get(character, character) for character in value) for key, value in secrets.items()}
    return "".join(f'{key}="{escaped[key]}"\n' for key in sorted(escaped))


def as_file(values: Mapping[str, str]) -> str:
    """Write values as a file of secrets that is read back to the letter; a comment names what cannot be."""
    return "".join(as_line(key, values[key]) for key in sorted(values))


def as_line(key: str, value: str) -> str:
    """Write one value in the first way of quoting that is read back, also with another line after it."""
    escaped = value.replace("\\", "\\\\")
    double = escaped.replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r")
    single = escaped.replace("'", "\\'")
    for quoted in (f"'{single}'", f'"{double}"', value):
        bindings = parse(f"{key}={quoted}\nNEXT='it'\n".replace("\r\n", "\n").replace("\r", "\n"))
        if [(one.key, one.value) for one in bindings] == [(key, value), ("NEXT", "it")]:
            return f"{key}={quoted}\n"
    return f"# {key} must be written by hand\n"


def rendered(env: str) -> dict[str, str]:
    """Read back what `render` wrote; what else Python calls the end of a line is in values."""
    plain = {escaped: character for character, escaped in ESCAPED.items()}
    pairs = (line.split("=", 1) for line in env.split("\n") if "=" in line)
    return {key: re.sub(r"\\.|\$\$", lambda match: plain.get(match[0], match[0]), value[1:-1]) for key, value in pairs}
