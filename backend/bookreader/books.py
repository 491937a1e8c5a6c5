"""Serve the shelf: upload, list, read, remember the position, delete."""

import hashlib
import logging
from functools import partial
from pathlib import PurePath
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, HTTPException, Query, UploadFile
from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from bookreader import broker
from bookreader.database import sessions
from bookreader.limits import MAX_FILE_BYTES, too_large
from bookreader.models import Book, BookPart, Chapter, State
from bookreader.schemas import (
    LARGEST_INT,
    BookDetail,
    BookOut,
    ChapterNumber,
    ChapterOut,
    ChapterTitle,
    Position,
)

SUFFIXES = (".txt", ".epub")
# What one upload takes of the process's memory, however large it is.
PART_BYTES = 2**20

router = APIRouter(prefix="/api/books")
log = logging.getLogger(__name__)


@router.post("", status_code=201)
def upload(file: UploadFile) -> BookOut:
    """Store a book and queue it for parsing."""
    name, sha256 = checked(file), hashlib.sha256()
    book = Book(id=uuid4(), title=title_of(name), file_name=name, bytes=file.size or 0, sha256="")
    with sessions.begin() as db:
        db.add(book)
        db.flush()
        for number, data in enumerate(iter(partial(file.file.read, PART_BYTES), b"")):
            sha256.update(data)
            db.execute(insert(BookPart).values(book_id=book.id, number=number, data=data))
        book.sha256 = sha256.hexdigest()
    log.info("book %s is stored, %d bytes", book.id, book.bytes)
    broker.publish(book.id, State.QUEUED, 0)
    broker.queue(book.id)
    return BookOut.model_validate(book)


def checked(file: UploadFile) -> str:
    """Return the printable name of an acceptable upload, or refuse it with the reason."""
    name = "".join(character for character in file.filename or "" if character.isprintable())[-200:]
    if PurePath(name).suffix.lower() not in SUFFIXES:
        raise HTTPException(415, f"a book is a {' or '.join(SUFFIXES)} file, not {name!r}")
    if (file.size or 0) > MAX_FILE_BYTES:
        raise too_large()
    if not file.size:
        raise HTTPException(422, f"{name!r} is empty")
    return name


def title_of(name: str) -> str:
    """Make a title from a file name, until the book gives a better one."""
    return PurePath(name).stem.replace("_", " ").strip() or "Untitled"


@router.get("")
def shelf(
    limit: Annotated[int, Query(ge=1, le=500)] = 100, offset: Annotated[int, Query(ge=0, le=LARGEST_INT)] = 0
) -> list[BookOut]:
    """List the books, newest first."""
    newest = select(Book).order_by(Book.created_at.desc(), Book.id).limit(limit).offset(offset)
    with sessions() as db:
        return [BookOut.model_validate(book) for book in db.scalars(newest)]


@router.get("/{book_id}")
def book(book_id: UUID) -> BookDetail:
    """Show a book with its table of contents."""
    with sessions() as db:
        found = existing(db, book_id)
        titles = db.execute(
            select(Chapter.number, Chapter.title).where(Chapter.book_id == book_id).order_by(Chapter.number)
        )
        return BookDetail(
            **BookOut.model_validate(found).model_dump(),
            chapters=[ChapterTitle.model_validate(row) for row in titles],
            position=position_of(found),
        )


def existing(db: Session, book_id: UUID) -> Book:
    """Return a book, or answer 404."""
    if (found := db.get(Book, book_id)) is None:
        raise HTTPException(404, f"there is no book {book_id}")
    return found


def position_of(book: Book) -> Position | None:
    """Return where the reader stopped, if they ever began."""
    if book.position_chapter is None or book.position_offset is None:
        return None
    return Position(chapter=book.position_chapter, offset=book.position_offset)


@router.get("/{book_id}/chapters/{number}")
def chapter(book_id: UUID, number: ChapterNumber) -> ChapterOut:
    """Show one chapter."""
    with sessions() as db:
        if (found := db.get(Chapter, (book_id, number))) is None:
            raise HTTPException(404, f"book {book_id} has no chapter {number}")
        return ChapterOut.model_validate(found)


@router.put("/{book_id}/position", status_code=204)
def remember(book_id: UUID, position: Position) -> None:
    """Remember where the reader stopped."""
    with sessions.begin() as db:
        existing(db, book_id)
        same = (Chapter.book_id == book_id, Chapter.number == position.chapter)
        if db.scalar(select(Chapter.number).where(*same)) is None:
            raise HTTPException(404, f"book {book_id} has no chapter {position.chapter}")
        place = {"position_chapter": position.chapter, "position_offset": position.offset}
        db.execute(update(Book).where(Book.id == book_id).values(**place))


@router.delete("/{book_id}", status_code=204)
def remove(book_id: UUID) -> None:
    """Delete a book with its chapters and notes."""
    with sessions.begin() as db:
        existing(db, book_id)
        db.execute(delete(Book).where(Book.id == book_id))
