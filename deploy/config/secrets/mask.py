"""Secrets hidden in what programs print."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote

SHORTEST = 6


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
