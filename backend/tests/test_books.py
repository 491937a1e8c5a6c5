"""A book goes in, a worker splits it, a reader reads it."""

import hashlib
import tracemalloc
from tempfile import NamedTemporaryFile
from typing import Any
from uuid import UUID, uuid4

import pytest
from fastapi import UploadFile
from fastapi.testclient import TestClient
from redis import Redis
from sqlalchemy import func, select, text, update

from bookreader import books, broker, limits, worker
from bookreader.database import sessions
from bookreader.models import Book, BookPart, Chapter, ShelfStats, State
from tests.books import TEXT, epub
from tests.processes import Worker, wait_for

unqueued = pytest.mark.usefixtures("queued")


@pytest.fixture
def queued(monkeypatch: pytest.MonkeyPatch) -> list[UUID]:
    """Collect what is queued, where a test is the worker itself."""
    calls: list[UUID] = []
    monkeypatch.setattr(broker, "queue", calls.append)
    return calls


def upload(client: TestClient, name: str = "My_book.txt", data: bytes = TEXT) -> dict[str, Any]:
    """Upload a book."""
    response = client.post("/api/books", files={"file": (name, data)})
    assert response.status_code == 201, response.text
    book: dict[str, Any] = response.json()
    return book


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("name", "data", "title", "chapters"),
    [
        ("My_book.txt", TEXT, "My book", ["Chapter 1", "Chapter 2. The end"]),
        ("spine.EPUB", epub(), "The Spine", ["One", "Two"]),
    ],
)
def test_upload_parse_read(
    client: TestClient, name: str, data: bytes, title: str, chapters: list[str]
) -> None:
    book = upload(client, name, data)
    path = f"/api/books/{book['id']}"
    assert (book["state"], book["progress"], book["bytes"]) == ("queued", 0, len(data))
    assert book["sha256"] == hashlib.sha256(data).hexdigest()
    done = wait_for(lambda: (found := client.get(path).json())["state"] == "ready" and found)
    assert (done["title"], done["progress"], done["position"]) == (title, 100, None)
    assert done["chapters"] == [{"number": n, "title": t} for n, t in enumerate(chapters, start=1)]
    assert client.get(f"{path}/chapters/2").json()["title"] == chapters[1]
    with sessions() as db:
        assert db.scalar(select(func.count()).where(BookPart.book_id == UUID(book["id"]))) == 0


@pytest.mark.usefixtures("worker")
def test_broken_book_fails_with_its_reason(client: TestClient) -> None:
    path = f"/api/books/{upload(client, 'a.epub', b'no zip')['id']}"
    book = wait_for(lambda: (found := client.get(path).json())["state"] == "failed" and found)
    assert "not a zip" in book["error"]


@pytest.mark.parametrize(
    ("name", "data", "status", "detail"),
    [
        ("a.pdf", b"x", 415, "a book is a .txt or .epub file, not 'a.pdf'"),
        ("a.txt", b"", 422, "'a.txt' is empty"),
        ("a.txt", b"x" * 2001, 413, "the file is larger than"),
        ("a.txt", b"x" * 4000, 413, "the file is larger than"),
    ],
    ids=["other kind", "empty", "large", "large beyond reading"],
)
def test_refused_upload(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str, data: bytes, status: int, detail: str
) -> None:
    monkeypatch.setattr("bookreader.books.MAX_FILE_BYTES", 2000)
    monkeypatch.setattr(limits, "MAX_BODY_BYTES", 3000)
    response = client.post("/api/books", files={"file": (name, data)})
    assert (response.status_code, detail in response.json()["detail"]) == (status, True)


@pytest.mark.usefixtures("client", "queued")
def test_upload_takes_little_memory_however_large_it_is() -> None:
    """Uploads held whole once got server processes killed at the memory limit, with all their requests."""
    name, data = "large.txt", b"A line of a long book.\n" * 10**6
    with NamedTemporaryFile() as spooled:
        spooled.write(data)
        spooled.seek(0)
        tracemalloc.start()
        book = books.upload(UploadFile(spooled, size=len(data), filename=name))  # type: ignore[arg-type]
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (book.bytes, book.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert peak < 8 * 2**20 < len(data)


def test_upload_without_a_file_says_so(client: TestClient) -> None:
    response = client.post("/api/books")
    assert (response.status_code, response.json()) == (422, {"detail": "body.file: Field required"})


def test_upload_survives_an_absent_redis(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = "redis://127.0.0.1:1/0"
    monkeypatch.setattr(broker.celery, "send_task", lambda *_, **__: Redis.from_url(absent).ping())
    assert upload(client)["state"] == "queued"


def test_second_run_of_the_task_changes_nothing(client: TestClient, queued: list[UUID]) -> None:
    book_id = upload(client)["id"]
    assert queued == [UUID(book_id)]
    worker.parse_book(book_id)
    before = client.get(f"/api/books/{book_id}").json()
    worker.parse_book(book_id)
    assert client.get(f"/api/books/{book_id}").json() == before
    assert before["state"] == "ready"


@unqueued
def test_quicker_delivery_wins_and_nothing_is_doubled(client: TestClient) -> None:
    book_id = UUID(upload(client)["id"])
    first, second = worker.take(book_id), worker.take(book_id)
    assert first
    assert second
    for source in (first, second):
        worker.finish(book_id, State.READY, *worker.read(source))
    with sessions() as db:
        assert db.scalar(select(func.count()).select_from(Chapter).where(Chapter.book_id == book_id)) == 2


@unqueued
def test_book_deleted_meanwhile_is_no_error(client: TestClient) -> None:
    book_id = upload(client)["id"]
    source = worker.take(UUID(book_id))
    assert source
    assert client.delete(f"/api/books/{book_id}").status_code == 204
    worker.finish(UUID(book_id), State.READY, *worker.read(source))
    worker.parse_book(book_id)
    assert client.get(f"/api/books/{book_id}").status_code == 404


@unqueued
def test_book_that_kills_its_worker_is_given_up(client: TestClient) -> None:
    book_id = upload(client)["id"]
    for _ in range(worker.MAX_ATTEMPTS):
        worker.take(UUID(book_id))
    worker.parse_book(book_id)
    book = client.get(f"/api/books/{book_id}").json()
    assert (book["state"], book["error"]) == ("failed", "parsing was given up after 5 attempts")


def test_stuck_book_is_queued_once_and_the_shelf_is_counted(client: TestClient, queued: list[UUID]) -> None:
    book_id = UUID(upload(client)["id"])
    with sessions.begin() as db:
        db.execute(
            update(Book).where(Book.id == book_id).values(updated_at=text("now() - interval '11 minutes'"))
        )
    queued.clear()
    worker.tidy_shelf()
    worker.tidy_shelf()
    assert queued == [book_id]
    with sessions() as db:
        stats = db.get(ShelfStats, 1)
        assert stats
        assert stats.books == db.scalar(select(func.count()).select_from(Book))


@unqueued
def test_position_is_remembered(client: TestClient) -> None:
    book_id = upload(client)["id"]
    worker.parse_book(book_id)
    place = {"chapter": 2, "offset": 0.25}
    assert client.put(f"/api/books/{book_id}/position", json=place).status_code == 204
    assert client.get(f"/api/books/{book_id}").json()["position"] == place
    assert client.put(f"/api/books/{book_id}/position", json={"chapter": 3, "offset": 0}).status_code == 404
    assert (
        client.put(f"/api/books/{book_id}/position", content='{"chapter":1,"offset":NaN}').status_code == 422
    )


@unqueued
def test_shelf_is_newest_first_and_bounded(client: TestClient) -> None:
    books = [upload(client)["id"] for _ in range(3)]
    assert [book["id"] for book in client.get("/api/books?limit=2&offset=1").json()] == books[1::-1]
    assert client.get("/api/books?limit=501").status_code == 422


@pytest.mark.parametrize("path", ["", "/chapters/1", "/notes"])
def test_unknown_book_is_404(client: TestClient, path: str) -> None:
    assert client.get(f"/api/books/{uuid4()}{path}").status_code == 404


def test_worker_is_healthy_only_while_its_heart_beats(worker: Worker) -> None:
    assert worker.run("bookreader.health", "worker").returncode == 0
    assert "is not there yet" in worker.run("bookreader.health", "beat").stderr
