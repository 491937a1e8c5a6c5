"""A note is kept once, however often the request arrives."""

import json
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from bookreader import broker
from tests.books import TEXT


@pytest.fixture
def book_id(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> str:
    """Upload a book that nobody parses."""
    monkeypatch.setattr(broker, "queue", lambda _: None)
    return str(client.post("/api/books", files={"file": ("a.txt", TEXT)}).json()["id"])


def test_repeated_note_is_a_conflict(client: TestClient, book_id: str) -> None:
    note = {"id": str(uuid4()), "chapter": 1, "text": "mine"}
    assert client.post(f"/api/books/{book_id}/notes", json=note).status_code == 201
    again = client.post(f"/api/books/{book_id}/notes", json=note)
    assert (again.status_code, again.json()) == (409, {"detail": f"note {note['id']} is stored already"})
    assert client.post("/api/notes", json={"id": note["id"], "text": "mine"}).status_code == 409
    [kept] = client.get(f"/api/books/{book_id}/notes").json()
    assert {key: kept[key] for key in note} == note


def test_free_notes_are_paged_by_seq(client: TestClient) -> None:
    sent = [{"id": str(uuid4()), "text": f"note {n}"} for n in range(5)]
    first, *_ = [client.post("/api/notes", json=note).json() for note in sent]
    page = client.get("/api/notes", params={"after": first["seq"], "limit": 2}).json()
    assert [note["id"] for note in page] == [note["id"] for note in sent[1:3]]
    assert client.get(f"/api/notes/{sent[4]['id']}").json()["text"] == "note 4"
    assert client.get(f"/api/notes/{uuid4()}").status_code == 404
    assert client.get("/api/notes?limit=5001").status_code == 422


def test_notes_go_with_their_book(client: TestClient, book_id: str) -> None:
    note = {"id": str(uuid4()), "chapter": 1, "text": "mine"}
    client.post(f"/api/books/{book_id}/notes", json=note)
    client.delete(f"/api/books/{book_id}")
    assert client.get(f"/api/notes/{note['id']}").status_code == 404
    assert client.post(f"/api/books/{book_id}/notes", json=note).status_code == 404


@pytest.mark.parametrize(
    ("note", "field"),
    [
        ({"text": "a\0b"}, "body.text"),
        ({"text": "\ud800"}, "body.text"),
        ({"text": "x" * 100_001}, "body.text"),
        ({"text": "", "id": "1"}, "body.id"),
        ({}, "body.text"),
    ],
    ids=["NUL", "surrogate", "long", "bad id", "no text"],
)
def test_what_cannot_be_stored_is_refused(client: TestClient, note: dict[str, Any], field: str) -> None:
    body = json.dumps({"id": str(uuid4()), **note})  # written by hand, because httpx2 refuses lone surrogates
    response = client.post("/api/notes", content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, response.json()["detail"].split(":")[0]) == (422, field)
