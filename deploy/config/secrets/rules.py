"""What is wrong with secrets, by the names of keys and never by a value. Pure."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from deploy.config.secrets.envfile import NAME

EXAMPLE = ".env.example"
# for the toolkit alone: optional, given to no container of the app, part of no release
OWN = ("NOTIFY_URLS", "HEARTBEAT_URL", "REGISTRY_PASSWORD")
PLACEHOLDERS = {"", "placeholder", "todo", "xxx", "secret", "password"}
CHANGE = {"change-me", "change_me", "changeme", "change-this", "changethis"}  # also as a part, as in a URL
SECRETIVE = {"password", "passwd", "pass", "passphrase", "secret", "key", "token"}
# words of names whose value often holds one, such as an address with a password in it: too many to judge a value by,
# but a file that git keeps is advised for them only where it holds none
SUSPECT = SECRETIVE | {
    "pw", "pwd", "url", "uri", "dsn", "credential", "cred", "auth", "authorization", "jwt", "salt", "pepper", "pin",
    "pem", "cookie", "webhook", "hmac", "fernet", "apikey", "pgpass", "htpasswd", "connection", "conn", "private",
}  # fmt: skip
SHELL = {"PWD", "OLDPWD"}  # its folders, no passwords
SHORTEST = 12
LEAST_BITS = 32  # by how often each character stands in it: "abcabcabcabc" has 19
LONGEST = 128 * 1024  # bytes of NAME=value and its end: the kernel gives a program no longer one (MAX_ARG_STRLEN)


@dataclass(frozen=True)
class Documented:
    """The keys that the example documents, and those of them that may be empty or not be there."""

    keys: Collection[str]
    optional: Collection[str] = ()
    values: Mapping[str, str] = field(default_factory=dict)


def mistakes(values: Mapping[str, str], documented: Documented, lines: Mapping[str | None, int]) -> list[str]:
    """List the keys that are missing, hold a placeholder or cannot be given to a program; never a value."""
    rest = stray(values, documented)
    return [
        *misshapen(values, documented, lines),
        *(f"{key} is missing (documented in {EXAMPLE})" for key in missing(values, documented)),
        *(f"{key} still holds a placeholder" for key in placeholders(values, documented) if key not in rest),
    ]


def misshapen(values: Mapping[str, str], documented: Documented, lines: Mapping[str | None, int]) -> list[str]:
    """List what no program can be given as a variable; never what may be the rest of a value."""
    rest = stray(values, documented)
    return [
        *(f"line {lines[key]} is no NAME=value; a value of several lines stands in quotes" for key in rest),
        # what Compose reads otherwise: it would take part of the line for the name, or show all of it
        *(f"`{key}` is no name of a variable" for key in documented.keys if not NAME.fullmatch(key)),
        *(f"{key} {reason}" for key, reason in undeliverable(values) if key not in rest),
    ]


def stray(values: Mapping[str, str], documented: Documented) -> list[str]:
    """List what the parser took for names, and may be the rest of a value without quotes."""
    undocumented = {key: value for key, value in values.items() if key not in documented.keys}
    return [key for key, value in undocumented.items() if not NAME.fullmatch(key) or not value.strip("=")]


def missing(values: Collection[str], documented: Documented) -> list[str]:
    """List the documented keys that have to be set and are not."""
    return [key for key in documented.keys if key not in {*values, *OWN, *documented.optional}]


def placeholders(values: Mapping[str, str], documented: Documented) -> list[str]:
    """List the keys whose value nobody chose; an optional one may be empty."""
    return [key for key, value in values.items() if is_placeholder(value) and (value or key not in documented.optional)]


def is_placeholder(value: str) -> bool:
    """Tell whether a value is one that nobody chose."""
    to_generate = "<" in value and ">" in value and "random" in value
    return value.strip().lower() in PLACEHOLDERS or asks_for_change(value) or to_generate


def is_placeholder_of(key: str, value: str) -> bool:
    """Tell whether a setting that is in no secrets file is a placeholder: `password` may be a plain word there."""
    return asks_for_change(value) or (bool(value) and is_secretive(key) and is_placeholder(value))


def asks_for_change(value: str) -> bool:
    """Tell whether a value, or a part of the URL that it is, asks to be changed."""
    return not CHANGE.isdisjoint(re.split(r"[:/@?&=\s]", value.strip().lower()))


def undeliverable(values: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Name the keys whose value no program can be given, with the reason."""
    for key, value in values.items():
        if "\0" in value:
            yield key, "holds a NUL character, which no variable can"
        if (size := len(key.encode()) + len(value.encode()) + 2) > LONGEST:
            yield key, f"has {size // 1024} kB, and a variable has at most 128: mount a file instead"


def is_secretive(key: str) -> bool:
    """Tell whether a key's name says that nobody may guess its value."""
    words = re.split(r"[_.-]", key.lower().removesuffix("_previous"))
    return not SECRETIVE.isdisjoint((words[-1], words[-1].removesuffix("s"))) and "public" not in words


def place_of(key: str, file: str = "the secrets file") -> str:
    """Say where a key's value belongs: into [variables], which git keeps, only what is no secret. Pure."""
    if is_secretive(key):
        return f"{file}, with an env_file for its service"
    if may_hold_secret(key):
        return f"{file}, with an env_file for its service, or into [variables] where it holds no password"
    return f"[variables], or into {file}, with an env_file for its service where it is a secret"


def may_hold_secret(key: str) -> bool:
    """Tell whether a key's name leaves it open that its value is a secret or has one in it. Pure."""
    words = {part for word in re.split(r"[_.-]", key.lower()) for part in (word, word.removesuffix("s"))}
    return key not in SHELL and not SUSPECT.isdisjoint(words) and "public" not in words


def weak(values: Mapping[str, str]) -> list[str]:
    """List the keys whose value, or the password of the URL that it is, can be guessed."""
    return [key for key, value in values.items() if value and is_weak(key, value)]


def is_weak(key: str, value: str) -> bool:
    """Tell whether a value is a password, key or token that is short, or made of few characters again and again."""
    password = value if is_secretive(key) else ""
    if "://" in value:
        with suppress(ValueError):
            password = urlsplit(value).password or ""
    return bool(password) and (len(password) < SHORTEST or bits(password) < LEAST_BITS)


def bits(value: str) -> float:
    """Return how many bits a text has by the frequency of its characters (Shannon)."""
    return sum(-number * math.log2(number / len(value)) for number in Counter(value).values())
