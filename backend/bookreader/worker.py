"""Do the work behind the web: `celery -A bookreader.worker worker`, scheduled by `... beat`."""

import logging
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from celery.signals import celeryd_init, heartbeat_sent
from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import OperationalError

from bookreader import broker, failures  # noqa: F401  # failures listens to the worker's signals
from bookreader.database import sessions
from bookreader.models import FINISHED, Book, BookPart, Chapter, ShelfStats, State
from bookreader.parsing import BrokenBook, Section, parse
from bookreader.paths import WORKER_ALIVE, WORKER_NAME
from bookreader.settings import settings

if settings().debug_endpoints:
    from bookreader import runs  # noqa: F401  # registers its task

app = broker.celery
log = logging.getLogger(__name__)

MAX_ATTEMPTS = 5
STUCK_AFTER = timedelta(minutes=10)
STUCK_AT_ONCE = 500
PROGRESS_STEP = 5


@dataclass(frozen=True)
class Source:
    """The uploaded file of a book that is to be parsed."""

    book_id: UUID
    name: str
    data: bytes
    attempts: int


@celeryd_init.connect
def note_name(sender: str, **_: Any) -> None:
    """Leave the worker's name for `python -m bookreader.tasks quiet`, which is run beside it."""
    WORKER_NAME.write_text(sender)


@heartbeat_sent.connect
def note_alive(**_: Any) -> None:
    """Leave a fresh file for the health check, every two seconds while the broker is reached."""
    WORKER_ALIVE.touch()


@app.task(name=broker.PARSE_BOOK, autoretry_for=(OperationalError,), retry_backoff=True, max_retries=5)
def parse_book(book_id: str) -> None:
    """Split one book into chapters; a second run finds nothing left to do."""
    source = take(UUID(book_id))
    if source is None:
        return
    try:
        title, sections = read(source)
    except BrokenBook as error:
        finish(source.book_id, State.FAILED, error=str(error).replace("\0", "")[:500])
    else:
        finish(source.book_id, State.READY, title=title, sections=sections)


def take(book_id: UUID) -> Source | None:
    """Mark a book as being parsed and return its file, or None when it is gone or finished."""
    with sessions.begin() as db:
        book = db.get(Book, book_id, with_for_update=True)
        if book is None or book.state in FINISHED:
            return None
        parts = db.scalars(select(BookPart.data).where(BookPart.book_id == book_id).order_by(BookPart.number))
        book.state, book.progress, book.attempts = State.PARSING, 1, book.attempts + 1
        source = Source(book_id, book.file_name, b"".join(parts), book.attempts)
    broker.publish(book_id, State.PARSING, 1)
    return source


def read(source: Source) -> tuple[str, list[Section]]:
    """Return the title and the chapters, and report progress on the way."""
    # Without a limit, a book that kills its worker would come back for ever.
    if source.attempts > MAX_ATTEMPTS:
        raise BrokenBook(f"parsing was given up after {MAX_ATTEMPTS} attempts")
    manuscript, sections, shown = parse(source.name, source.data), [], 0
    for section in manuscript.sections:
        sections.append(section)
        if (percent := min(99, int(section.done * 100))) >= shown + PROGRESS_STEP:
            report(source.book_id, percent)
            shown = percent
    if not sections:
        raise BrokenBook("there is no text in the file")
    return manuscript.title, sections


def report(book_id: UUID, percent: int) -> None:
    """Store and publish how far a book has come."""
    with sessions.begin() as db:
        db.execute(
            update(Book).where(Book.id == book_id, Book.state == State.PARSING).values(progress=percent)
        )
    broker.publish(book_id, State.PARSING, percent)


def finish(
    book_id: UUID,
    state: State,
    title: str = "",
    sections: list[Section] | None = None,
    error: str | None = None,
) -> None:
    """Store the outcome in one transaction, unless the book was deleted or another delivery was quicker."""
    with sessions.begin() as db:
        book = db.get(Book, book_id, with_for_update=True)
        if book is None or book.state in FINISHED:
            return
        if sections:
            db.execute(insert(Chapter), chapters(book_id, sections))
        db.execute(delete(BookPart).where(BookPart.book_id == book_id))
        book.title, book.state, book.error, book.progress = title or book.title, state, error, 100
    log.info("book %s is %s", book_id, state)
    broker.publish(book_id, state, 100)


def chapters(book_id: UUID, sections: list[Section]) -> list[dict[str, Any]]:
    """Make the rows, numbered from 1."""
    return [
        {"book_id": book_id, "number": number, "title": section.title[:300], "text": section.text}
        for number, section in enumerate(sections, start=1)
    ]


@app.task(name=broker.TIDY_SHELF)
def tidy_shelf() -> None:
    """Queue again what is stuck, and count the shelf."""
    for book_id in stuck_books():
        broker.queue(book_id)
    count_shelf()


def stuck_books() -> list[UUID]:
    """Return unfinished books untouched for ten minutes, and touch them so that the next round skips them."""
    now = datetime.now(UTC)
    with sessions.begin() as db:
        stuck = select(Book.id).where(Book.state.not_in(FINISHED), Book.updated_at < now - STUCK_AFTER)
        some = stuck.order_by(Book.updated_at).limit(STUCK_AT_ONCE).with_for_update(skip_locked=True)
        touch = update(Book).where(Book.id.in_(some)).values(updated_at=now).returning(Book.id)
        return list(db.scalars(touch, execution_options={"synchronize_session": False}))


def count_shelf() -> None:
    """Write the one row of counts."""
    with sessions.begin() as db:
        counts = db.execute(select(Book.state, func.count()).group_by(Book.state))
        states = {state: count for state, count in counts}  # noqa: C416  # a Row is no tuple to mypy
        row = {
            "books": sum(states.values()),
            "ready": states.get(State.READY, 0),
            "failed": states.get(State.FAILED, 0),
            "counted_at": datetime.now(UTC),
        }
        count = upsert(ShelfStats).values(id=1, **row)
        db.execute(count.on_conflict_do_update(index_elements=["id"], set_=row))
