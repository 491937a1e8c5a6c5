"""The commands of a playbook, in their order."""

from __future__ import annotations

import re
import shlex

FENCE = re.compile(r"(?ms)^```\n(.*?)^```")
INLINE = re.compile(r"`(inv [^`]+)`")
FILLED = {
    "RELEASE": "r1",
    "POINT": "latest",
    "SERVICE": "worker",
    "NAME": "uploads",
    "KEY": "secret_key",
    "N": "2",
    "REASON": "why",
}


def commands(text: str, filled: dict[str, str]) -> list[list[str]]:
    """Read the lines that a page says to type, with its placeholders filled."""
    lines = [line for block in FENCE.findall(text) for line in block.splitlines()]
    return [words(line, filled) for line in lines]


def mentioned(text: str, filled: dict[str, str]) -> list[list[str]]:
    """Read the commands that a page names in its sentences."""
    return [words(line.replace("\n", " "), filled) for line in INLINE.findall(FENCE.sub("", text))]


def words(line: str, filled: dict[str, str]) -> list[str]:
    """Split a line; what stands behind `#` is for people."""
    split = shlex.split(line, comments=True)
    return [re.sub(r"\b[A-Z]+\b", lambda name: filled.get(name[0], name[0]), word) for word in split]
