"""One secret changed for another: what the text is then, and which values are to come back no more. Pure."""

from __future__ import annotations

import re
import secrets as random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from deploy.config.secrets import envfile
from deploy.config.secrets.rules import SHORTEST
from deploy.core.errors import Refused

PREVIOUS = "_PREVIOUS"
OF_DATABASES = ("POSTGRES_PASSWORD", "PGPASSWORD", "MYSQL_PASSWORD", "DATABASE_URL")
OF_BACKUPS = "RESTIC_PASSWORD"
IN_THE_DATABASE = """{key} is a password that the database holds too, one at a time, so it cannot change without a gap:
    1. inv secrets.edit: the new value, wherever the old one stands ({keys})
    2. in the database: psql as that role, then \\password. Open connections go on, new ones of what serves fail
    3. inv deploy, at once: the gap ends with its switch. Releases of before cannot log in any more
{key} was not changed"""
IN_THE_BACKUPS = """{key} opens every backup there is, and another one would open none of them.
    restic's own `key add` and `key remove` change it in the repository; then inv secrets.edit, inv deploy
{key} was not changed"""


@dataclass(frozen=True)
class Rotation:
    """A text with another value of one secret: the keys that changed, and the values to revoke by key."""

    content: str
    changed: tuple[str, ...]
    revoked: Mapping[str, str]
    pair: bool


def require_rotatable(key: str, values: Mapping[str, str]) -> None:
    """Refuse a secret that is not set, or that something else holds too and must change with it."""
    if key not in values:
        then = f"inv secrets.rotate with one of: {', '.join(values)}"
        raise Refused(f"there is no secret `{key}`", where="inv secrets.rotate", then=then, slug="secret-unknown")
    holders = [other for other, value in values.items() if other == key or password(value) == values[key]]
    if key == OF_BACKUPS:
        raise Refused(IN_THE_BACKUPS.format(key=key), where=key, then="restic key add", slug="rotation-by-hand")
    if key in OF_DATABASES or len(holders) > 1:
        what = IN_THE_DATABASE.format(key=key, keys=", ".join(holders))
        raise Refused(what, where=key, then="inv secrets.edit, and what follows it above", slug="rotation-by-hand")


def password(value: str) -> str:
    """Return the password in a URL; empty for what is none."""
    with suppress(ValueError):
        return urlsplit(value).password or "" if "://" in value else ""
    return ""


def rotated(content: str, key: str, new: str, *, pair: bool) -> Rotation:
    """Put a new value in place of a secret's, also within others; of a `pair` the old one stays as the previous."""
    before = envfile.values(envfile.parse(content))
    old, raw = before[key], raw_value(content, key)
    after = replaced(content, key, f'"{escaped(new)}"')
    if pair:
        after = replaced(after, key + PREVIOUS, raw)
    elif len(old) >= SHORTEST:
        after = after.replace(old, new)
    return rotation(content, after, pair=pair, keys={key, key + PREVIOUS} if pair else None)


def finished(content: str, key: str) -> Rotation:
    """Let go of the previous value of a pair."""
    after = replaced(content, key + PREVIOUS, "")
    old = envfile.values(envfile.parse(content)).get(key + PREVIOUS, "")
    if not old:
        what = f"{key}{PREVIOUS} is empty: nothing is left to finish"
        raise Refused(what, where=key, then=f"inv secrets.rotate {key}", slug="rotation-not-begun")
    return Rotation(after, (key + PREVIOUS,), {key: old, key + PREVIOUS: old}, pair=True)


def rotation(before: str, after: str, *, pair: bool, keys: set[str] | None) -> Rotation:
    """Compare two texts; a pair's old value is revoked only when it is finished."""
    old, new = (envfile.values(envfile.parse(content)) for content in (before, after))
    changed = sorted(key for key in new if old.get(key) != new[key] and (keys is None or key in keys))
    revoked = {} if pair else {key: "".join(old[key]) for key in changed if old.get(key)}
    return Rotation(after, tuple(changed), revoked, pair)


def escaped(value: str) -> str:
    """Write a value as python-dotenv reads it in double quotes."""
    return value.replace("\\", "\\\\").replace('"', '\\"')


def raw_value(content: str, key: str) -> str:
    """Return what stands behind the equals sign of a key, as it is written."""
    originals = [entry.original.string for entry in envfile.parse(content) if entry.key == key]
    return originals[-1].partition("=")[2].rstrip("\n")


def replaced(content: str, key: str, raw: str) -> str:
    """Write another value of a key in its place, or at the end; every other line stays as it is."""
    pieces, there = [], False
    for entry in envfile.parse(content):
        piece = entry.original.string
        if entry.key == key:
            there = True
            blank = piece[: len(piece) - len(piece.lstrip("\n"))]
            piece = f"{blank}{key}={raw}\n"
        pieces.append(piece)
    whole = "".join(pieces)
    return whole if there else f"{whole}{'' if whole.endswith(chr(10)) or not whole else chr(10)}{key}={raw}\n"


def is_random(example: str) -> bool:
    """Tell whether the example has a random value for a key, rather than one that somebody else gives."""
    return bool(re.fullmatch(r"<random [^>]*>", example))


def random_value() -> str:
    """Choose a value that nobody guesses."""
    return random.token_urlsafe(24)
