"""Read plain text, with or without headings."""

import re
from collections.abc import Iterator

from bookreader.parsing.section import Section

MAX_CHAPTERS = 2000
PART_CHARACTERS = 12_000

HEADING = re.compile(
    r"""
    ^[ \t]*(?:
        \#{1,3}[ \t]+(?P<marked>\S.{0,100}?)                                  # '## A title'
      | (?P<plain>
            (?i:chapter|part|book)[ \t]+
            (?:\d{1,4}|[IVXLCDM]{1,8}|(?i:one|two|three|four|five|six|seven|eight|nine|ten))
            (?:[ \t]*[.:\u2013\u2014-].{0,80}?|[ \t]+[A-Z].{0,80}?)?          # 'CHAPTER I. A title'
        )
    )[ \t]*$""",
    re.MULTILINE | re.VERBOSE,
)


def decoded(data: bytes) -> str:
    """Decode text of unknown origin: UTF-8 or UTF-16 by its mark, else what Windows wrote."""
    encodings = ["utf-16"] if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ["utf-8-sig", "cp1252"]
    for encoding in encodings:
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    return data.decode("latin-1")


def text_sections(text: str) -> Iterator[Section]:
    """Split plain text at its headings, or by size when it has none."""
    text = text.replace("\0", "").replace("\r\n", "\n")
    headings = list(HEADING.finditer(text))
    if not headings or len(headings) > MAX_CHAPTERS:
        return by_size(text)
    return by_headings(text, headings)


def by_headings(text: str, headings: list[re.Match[str]]) -> Iterator[Section]:
    """Yield what stands before the first heading and what follows each; a table of contents falls out."""
    edges = [(0, 0, "Opening")]
    edges += [(match.start(), match.end(), match["marked"] or match["plain"]) for match in headings]
    ends = [start for start, _, _ in edges[1:]] + [len(text)]
    for (_, start, title), end in zip(edges, ends, strict=True):
        if body := text[start:end].strip():
            yield Section(title, body, end / len(text))


def by_size(text: str) -> Iterator[Section]:
    """Yield parts of about the same size."""
    size, start, number = max(PART_CHARACTERS, len(text) // MAX_CHAPTERS), 0, 0
    while start < len(text):
        end = cut(text, start, size)
        if body := text[start:end].strip():
            number += 1
            yield Section(f"Part {number}", body, end / len(text))
        start = end


def cut(text: str, start: int, size: int) -> int:
    """Return where a part ends: after a paragraph, else a line, else a word, else anywhere."""
    if start + size >= len(text):
        return len(text)
    for mark in ("\n\n", "\n", " "):
        if (found := text.rfind(mark, start + size // 2, start + size)) >= 0:
            return found
    return start + size
