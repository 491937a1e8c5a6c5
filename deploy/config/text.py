"""Texts that people wrote, and what is wrong with a value in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from deploy.core.errors import Refused

WHOLE, NUMBER = "it must be a whole number, as in 3", "it must be a number, as in 2.5"
TEXT, SECTION = 'it must be a text, as in "a"', "it must be a section of keys and values"
# pydantic's types of mistakes, of which its own messages speak as Python does
WORDS = {
    "list_type": 'it must be a list, as in ["a", "b"]',
    "tuple_type": 'it must be a list, as in ["a", "b"]',
    "dict_type": SECTION,
    "model_type": SECTION,
    "string_type": TEXT,
    "path_type": TEXT,
    "int_type": WHOLE,
    "int_parsing": WHOLE,
    "int_from_float": WHOLE,
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "bool_type": "it must be true or false",
    "bool_parsing": "it must be true or false",
    "missing": "it is missing",
}


def read(path: Path, name: str, where: str = "") -> str:
    """Read a text in UTF-8, with or without a byte order mark; raise Refused naming the file and the line."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise Refused(
            f"{name} is not UTF-8, line {line}",
            where=where or name,
            then=f"save {name} as UTF-8",
            slug="file-unreadable",
        ) from None
    except OSError as error:
        raise Refused(
            f"{name} cannot be read: {error.strerror}", where=where or name, then=f"fix {name}", slug="file-unreadable"
        ) from None


def universal(content: str) -> str:
    """Return a text whose lines end as `read` has them, whatever editor wrote it."""
    return content.replace("\r\n", "\n").replace("\r", "\n")


def in_words(mistake: Any) -> str:
    """Describe one mistake that pydantic found in a value."""
    message = mistake["msg"].removeprefix("Value error, ").replace("Input should be", "it must be")
    return WORDS.get(mistake["type"], f"{message[0].lower()}{message[1:]}")
