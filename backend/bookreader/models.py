"""Map the tables; the migrations create them, and a test holds the two together."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import BigInteger, DateTime, ForeignKey, Identity, func
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class State(StrEnum):
    """Say how far a book has come."""

    QUEUED = "queued"
    PARSING = "parsing"
    READY = "ready"
    FAILED = "failed"


FINISHED = (State.READY, State.FAILED)


class Base(DeclarativeBase):
    """Gather the tables for Alembic."""

    type_annotation_map = {datetime: DateTime(timezone=True)}  # noqa: RUF012  # SQLAlchemy's own idiom


class Book(Base):
    """A book on the shelf, and where its reader stopped."""

    __tablename__ = "books"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    title: Mapped[str]
    file_name: Mapped[str]
    state: Mapped[str] = mapped_column(default=State.QUEUED)
    progress: Mapped[int] = mapped_column(default=0)
    error: Mapped[str | None]
    bytes: Mapped[int]
    sha256: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=0)
    position_chapter: Mapped[int | None]
    position_offset: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now(), index=True)
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())


class BookPart(Base):
    """A piece of an uploaded file, kept until the book is parsed; the server never holds all of it."""

    __tablename__ = "book_parts"

    book_id: Mapped[UUID] = mapped_column(ForeignKey("books.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    data: Mapped[bytes]


class Chapter(Base):
    """A chapter of a parsed book, numbered from 1."""

    __tablename__ = "chapters"

    book_id: Mapped[UUID] = mapped_column(ForeignKey("books.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str]
    text: Mapped[str]


class Note(Base):
    """A reader's note; the client makes the id, so that a request applied twice is seen."""

    __tablename__ = "notes"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, Identity(), unique=True)
    book_id: Mapped[UUID | None] = mapped_column(ForeignKey("books.id", ondelete="CASCADE"), index=True)
    chapter: Mapped[int | None]
    text: Mapped[str]


class ShelfStats(Base):
    """One row that counts the shelf, kept by the scheduler."""

    __tablename__ = "shelf_stats"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    books: Mapped[int]
    ready: Mapped[int]
    failed: Mapped[int]
    counted_at: Mapped[datetime]


class TaskRun(Base):
    """One start of the debug task; the same id twice is a task that ran twice."""

    __tablename__ = "task_runs"

    run: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    id: Mapped[UUID]
    started_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    release: Mapped[str]
