"""Read a whole book from the database, as a reader would: `python -m bookreader.smoke`.

A backup's drill runs it. It changes nothing, and exits 1 when the newest book that was parsed
has no chapter or an empty one.
"""

import sys

from sqlalchemy import select

from bookreader.database import sessions
from bookreader.models import Book, Chapter, State


def main() -> None:
    """Read the newest book from its first chapter to its last."""
    with sessions() as db:
        newest = select(Book).where(Book.state == State.READY).order_by(Book.created_at.desc())
        book = db.scalars(newest).first()
        if book is None:
            print("no book on the shelf")
            return
        own = select(Chapter).where(Chapter.book_id == book.id).order_by(Chapter.number)
        chapters = db.scalars(own).all()
    if not chapters or not all(chapter.text for chapter in chapters):
        sys.exit(f"{book.title} has {len(chapters)} chapters, and not all of them have a text")
    length = sum(len(chapter.text) for chapter in chapters)
    print(f"{book.title}: {len(chapters)} chapters, {length} characters")


if __name__ == "__main__":
    main()
