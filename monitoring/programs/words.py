"""The lines of a log that say most about a failure, without the secrets of the release."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

ERROR = re.compile(r"(?i)error|exception|fatal|critical|panic|refused|denied|traceback")
SHORTEST, LINES = 6, 5
# as deploy/config/secrets reads back what it wrote, and as it masks: this program is alone in its image; a test
# compares the two
PLAIN = {"\\\\": "\\", '\\"': '"', "$$": "$", "\\n": "\n", "\\r": "\r"}


def last_words(lines: list[str]) -> list[str]:
    """Choose the lines that say most about a failure: the last ones with an error in them, else the last. Pure."""
    return [line for line in lines if ERROR.search(line)][-LINES:] or lines[-LINES:]


def secrets_of(file: Path) -> list[str]:
    """Read the values that no message may hold, in every form in which programs print them; longest first."""
    try:
        lines = file.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return []
    written = [line.partition("=")[2][1:-1] for line in lines]
    values = [re.sub(r"\\.|\$\$", lambda match: PLAIN.get(match[0], match[0]), one) for one in written]
    shown = {form for value in values for form in forms(value) if len(form) >= SHORTEST}
    return sorted(shown, key=len, reverse=True)


def forms(value: str) -> Iterator[str]:
    """Yield what programs print of a value: it all, each line, as a URL quotes it and as Python and JSON escape it."""
    for part in (value, *value.splitlines()):
        yield from (part, quote(part, safe=""), repr(part)[1:-1], json.dumps(part)[1:-1])


def masked(line: str, values: Iterable[str]) -> str:
    """Hide secrets in a line, and passwords in addresses. Pure."""
    for value in values:
        line = line.replace(value, "***")
    return re.sub(r"(://[^\s:/@]*:)[^\s@]+@", r"\1***@", line)
