"""Shape what comes in and goes out as JSON."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

LARGEST_INT = 2**31 - 1


def storable(text: str) -> str:
    """Refuse what PostgreSQL cannot store as text: NUL and halves of surrogate pairs."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("the text must not hold NUL characters or lone surrogates")
    return text


Text = Annotated[str, Field(max_length=100_000), AfterValidator(storable)]
Number = Annotated[int, Field(ge=1, le=LARGEST_INT)]
ChapterNumber = Annotated[int, Path(ge=1, le=LARGEST_INT)]


class Out(BaseModel):
    """Read the fields from a row."""

    model_config = ConfigDict(from_attributes=True)


class BookOut(Out):
    """A book as the list shows it; progress goes from 0 to 100."""

    id: UUID
    title: str
    state: str
    progress: int
    error: str | None
    bytes: int
    sha256: str


class ChapterTitle(Out):
    """A line of the table of contents."""

    number: int
    title: str


class ChapterOut(ChapterTitle):
    """A chapter to read."""

    text: str


class Position(BaseModel):
    """Where the reader stopped: the share of the chapter above the screen (0 to 1)."""

    chapter: Number
    offset: float = Field(ge=0, le=1, allow_inf_nan=False)


class BookDetail(BookOut):
    """A book with its table of contents."""

    chapters: list[ChapterTitle]
    position: Position | None


class NoteIn(BaseModel):
    """A note to keep; the client makes the id."""

    id: UUID
    text: Text


class BookNoteIn(NoteIn):
    """A note in the margin of a chapter."""

    chapter: Number


class NoteOut(Out):
    """A note as it was stored; seq grows with every note."""

    seq: int
    id: UUID
    book_id: UUID | None
    chapter: int | None
    text: str


class DebugTask(BaseModel):
    """A task to queue; it must end well below the time limit of tasks."""

    id: UUID
    seconds: float = Field(ge=0, le=60, allow_inf_nan=False)


class TaskRunOut(Out):
    """One start of a debug task."""

    id: UUID
    started_at: datetime
    finished_at: datetime | None
    release: str
