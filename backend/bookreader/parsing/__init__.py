"""Split a book into chapters: a pure function of the uploaded file."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePath

from bookreader.parsing.epub import Epub
from bookreader.parsing.section import BrokenBook, Manuscript, Section
from bookreader.parsing.text import decoded, text_sections

__all__ = ["BrokenBook", "Manuscript", "Section", "parse"]


def parse(name: str, data: bytes) -> Manuscript:
    """Open a .txt or .epub file by its name; raise BrokenBook here or while its sections are read."""
    with blaming_the_file():
        if PurePath(name).suffix.lower() == ".epub":
            epub = Epub(data)
            return Manuscript(epub.title, guarded(epub.sections()))
        return Manuscript("", guarded(text_sections(decoded(data))))


def guarded(sections: Iterator[Section]) -> Iterator[Section]:
    """Yield sections, and blame the file for what goes wrong between two of them."""
    with blaming_the_file():
        yield from sections


@contextmanager
def blaming_the_file() -> Iterator[None]:
    """Turn every error into BrokenBook: nothing but the file takes part in parsing."""
    try:
        yield
    except BrokenBook:
        raise
    except Exception as error:
        raise BrokenBook(f"the file cannot be read: {type(error).__name__}: {error}") from error
