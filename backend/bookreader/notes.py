"""Keep readers' notes, in the margin of a book or free."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, HTTPException, Query
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from bookreader.database import sessions
from bookreader.models import Book, Note
from bookreader.schemas import BookNoteIn, NoteIn, NoteOut

PAGE = 5000

router = APIRouter(prefix="/api")


@router.post("/notes", status_code=201)
def keep(note: NoteIn) -> NoteOut:
    """Keep a note once; the same id again is a conflict."""
    with sessions.begin() as db:
        return stored(db, note.model_dump())


@router.post("/books/{book_id}/notes", status_code=201)
def keep_in_margin(book_id: UUID, note: BookNoteIn) -> NoteOut:
    """Keep a note in the margin of a book."""
    with sessions.begin() as db:
        # The lock keeps the book in place until the note is stored.
        if db.get(Book, book_id, with_for_update={"read": True, "key_share": True}) is None:
            raise HTTPException(404, f"there is no book {book_id}")
        return stored(db, {**note.model_dump(), "book_id": book_id})


def stored(db: Session, values: dict[str, Any]) -> NoteOut:
    """Insert a note, or answer 409 when its id was used before."""
    once = insert(Note).values(values).on_conflict_do_nothing(index_elements=["id"]).returning(Note)
    if (note := db.scalar(once)) is None:
        raise HTTPException(409, f"note {values['id']} is stored already")
    return NoteOut.model_validate(note)


@router.get("/notes")
def notes(
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0, limit: Annotated[int, Query(ge=1, le=PAGE)] = PAGE
) -> list[NoteOut]:
    """List notes in the order of their seq, from the one after the given seq."""
    with sessions() as db:
        page = select(Note).where(Note.seq > after).order_by(Note.seq).limit(limit)
        return [NoteOut.model_validate(note) for note in db.scalars(page)]


@router.get("/notes/{note_id}")
def note(note_id: UUID) -> NoteOut:
    """Show one note."""
    with sessions() as db:
        if (found := db.get(Note, note_id)) is None:
            raise HTTPException(404, f"there is no note {note_id}")
        return NoteOut.model_validate(found)


@router.get("/books/{book_id}/notes")
def margin(book_id: UUID) -> list[NoteOut]:
    """List all notes of a book."""
    with sessions() as db:
        if db.get(Book, book_id) is None:
            raise HTTPException(404, f"there is no book {book_id}")
        of_book = select(Note).where(Note.book_id == book_id).order_by(Note.seq)
        return [NoteOut.model_validate(note) for note in db.scalars(of_book)]
