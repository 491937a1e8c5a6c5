"""One secret changed for another: what the text is then, and which values are to come back no more. Pure."""

from __future__ import annotations

import re
import secrets as random
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from deploy.config.secrets import envfile
from deploy.config.secrets.rules import SHORTEST, Documented, stray
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


def require_rotatable(key: str, values: Mapping[str, str], example: Documented) -> None:
    """Refuse a secret that is not set, or that something else holds too and must change with it."""
    rest = stray(values, example)
    names = [name for name in values if name not in rest]
    if key not in names:
        then = f"inv secrets.rotate with one of: {', '.join(names)}"
        raise Refused(f"there is no secret `{key}`", where="inv secrets.rotate", then=then, slug="secret-unknown")
    holders = [name for name in names if name == key or values[key] in passwords(values[name])]
    if key == OF_BACKUPS:
        raise Refused(IN_THE_BACKUPS.format(key=key), where=key, then="restic key add", slug="rotation-by-hand")
    if key in OF_DATABASES or len(holders) > 1:
        what = IN_THE_DATABASE.format(key=key, keys=", ".join(holders))
        raise Refused(what, where=key, then="inv secrets.edit, and what follows it above", slug="rotation-by-hand")


def passwords(value: str) -> set[str]:
    """Return the password in a URL, as it is written and as programs read it; none for what has none."""
    with suppress(ValueError):
        written = urlsplit(value).password if "://" in value else None
        return {written, unquote(written)} if written else set()
    return set()


def rotated(content: str, key: str, new: str, *, pair: bool) -> Rotation:
    """Put a new value in place of a secret's, also within others; of a `pair` the old one stays as the previous.

    Raises Refused where the new value is the old one.
    """
    before = in_clear(content)
    if new == before[key]:
        what, then = f"that is the value that {key} has", f"inv secrets.rotate {key} with another"
        raise Refused(what, where=key, then=then, slug="secret-not-given")
    others = {key + PREVIOUS: before[key]} if pair else within(before, key, new)
    after = written(content, {key: new, **others})
    changed = sorted({key, *others})
    revoked = {} if pair else {name: before[name] for name in changed if before[name]}
    return Rotation(after, tuple(changed), revoked, pair)


def within(values: Mapping[str, str], key: str, new: str) -> dict[str, str]:
    """Return the other values that a secret is part of, with the new one in its place; a short one is a word."""
    old = values[key]
    if len(old) < SHORTEST:
        return {}
    changed = {name: exchanged(value, old, new) for name, value in values.items() if name != key}
    return {name: value for name, value in changed.items() if value != values[name]}


def exchanged(value: str, old: str, new: str) -> str:
    """Put one text in place of another in a value; a URL gets it quoted, and may have had it so."""
    forms, new = ((quote(old, safe=""), old), quote(new, safe="")) if "://" in value else ((old,), new)
    return re.sub("|".join(map(re.escape, forms)), lambda _: new, value)


def finished(content: str, key: str) -> Rotation:
    """Let go of the previous value of a pair."""
    old = in_clear(content).get(key + PREVIOUS, "")
    if not old:
        what = f"{key}{PREVIOUS} is empty: nothing is left to finish"
        raise Refused(what, where=key, then=f"inv secrets.rotate {key}", slug="rotation-not-begun")
    after = written(content, {key + PREVIOUS: ""})
    return Rotation(after, (key + PREVIOUS,), {key: old, key + PREVIOUS: old}, pair=True)


def in_clear(content: str) -> dict[str, str]:
    """Return the values of a text, which show in what is made of them."""
    return {key: "".join(value) for key, value in envfile.values(envfile.parse(content)).items()}


def written(content: str, values: Mapping[str, str]) -> str:
    """Write values of keys in their places; raise Refused where these, or all others, are not read back as they are."""
    after = content
    for key, value in values.items():
        after = replaced(after, key, envfile.as_line(key, value).partition("=")[2].removesuffix("\n"))
    if in_clear(after) != {**in_clear(content), **values}:
        keys = ", ".join(values)
        what = f"a new value of {keys} would not be read back as it is given; nothing was changed"
        raise Refused(what, where=keys, then="inv secrets.edit takes it by hand", slug="secret-not-writable")
    return after


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
