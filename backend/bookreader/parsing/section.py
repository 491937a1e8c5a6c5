"""Say what a parsed book is made of."""

from collections.abc import Iterator
from dataclasses import dataclass


class BrokenBook(Exception):  # noqa: N818  # it reads better where it is raised
    """Say in one sentence why a file cannot be read as a book."""


@dataclass(frozen=True)
class Section:
    """A chapter as it was found, and the share of the book read up to its end (0 to 1)."""

    title: str
    text: str
    done: float


@dataclass(frozen=True)
class Manuscript:
    """A book that is being read: the title it gives itself, if any, and its chapters as they come."""

    title: str
    sections: Iterator[Section]
