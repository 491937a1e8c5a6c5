"""Read the language of Alloy's configuration: blocks, attributes, values. Raises ValueError where it is none.

https://grafana.com/docs/alloy/latest/get-started/configuration-syntax/
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

TOKEN = re.compile(
    r'(?P<blank>[ \t]+|//[^\n]*)|(?P<end>\n)|(?P<string>"(?:\\.|[^"\\\n])*")|(?P<number>\d+(?:\.\d+)?)'
    r"|(?P<name>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)|(?P<mark>[{}\[\]()=,])"
)


@dataclass
class Block:
    """A component, or a block in one."""

    name: str
    label: str = ""
    values: dict[str, object] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)


@dataclass(frozen=True)
class Reference:
    """Another component's export, or a function that is called with values."""

    name: str
    values: tuple[object, ...] = ()


class Reader:
    """Reads tokens, one after the other."""

    def __init__(self, text: str) -> None:
        self.tokens, self.at = [*tokens(text), ("end", "\n"), ("", "")], 0

    def take(self, *wanted: str) -> str:
        """Take the next token, which must be of a kind or one of these marks."""
        kind, text = self.tokens[self.at]
        if kind not in wanted and text not in wanted:
            raise ValueError(f"{text!r} where {' or '.join(wanted)} should be, after {self.tokens[: self.at][-5:]}")
        self.at += 1
        return text

    def sees(self, *wanted: str) -> bool:
        """Tell whether the next token is of a kind or one of these marks."""
        kind, text = self.tokens[self.at]
        return kind in wanted or text in wanted

    def skip(self) -> None:
        """Go over the ends of lines."""
        while self.sees("end"):
            self.at += 1

    def body(self, own: Block, end: str) -> Block:
        """Read what stands in a block."""
        self.skip()
        while not self.sees(end):
            name = self.take("name")
            if self.sees("="):
                self.take("=")
                own.values[name] = self.value()
            else:
                label = self.take("string").strip('"') if self.sees("string") else ""
                self.take("{")
                own.blocks.append(self.body(Block(name, label), "}"))
                self.take("}")
            self.take("end")
            self.skip()
        return own

    def value(self) -> object:
        """Read a value."""
        if self.sees("string"):
            return self.take("string")[1:-1]
        if self.sees("number"):
            return float(self.take("number"))
        if self.sees("["):
            return [*self.listed("[", "]")]
        if self.sees("{"):
            return [*self.listed("{", "}")]
        name = self.take("name")
        return Reference(name, tuple(self.listed("(", ")")) if self.sees("(") else ())

    def listed(self, begin: str, end: str) -> Iterator[object]:
        """Read values, or keys with values, between commas."""
        self.take(begin)
        self.skip()
        while not self.sees(end):
            own = self.value()
            if self.sees("="):
                self.take("=")
                own = (own.name if isinstance(own, Reference) else own, self.value())
            yield own
            if not self.sees(end):
                self.take(",")
            self.skip()
        self.take(end)


def tokens(text: str) -> Iterator[tuple[str, str]]:
    """Split a text; comments and blanks are left out."""
    at = 0
    while at < len(text):
        found = TOKEN.match(text, at)
        if not found:
            raise ValueError(f"{text[at : at + 20]!r} is nothing of this language")
        if found.lastgroup != "blank":
            yield str(found.lastgroup), found[0]
        at = found.end()


def parse(text: str) -> Block:
    """Read a whole file."""
    reader = Reader(text)
    return reader.body(Block(""), "")


def references(value: object) -> Iterator[str]:
    """Name what a block, or a value, refers to."""
    if isinstance(value, Block):
        for own in (*value.values.values(), *value.blocks):
            yield from references(own)
    elif isinstance(value, Reference):
        yield value.name
        for own in value.values:
            yield from references(own)
    elif isinstance(value, list | tuple):
        for own in value:
            yield from references(own)
