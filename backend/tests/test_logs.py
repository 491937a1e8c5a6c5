"""Logs are lines of JSON, and one request is found in all of them."""

import json
import logging
import sys

import httpx2

from bookreader import logs
from tests.processes import Server, Worker, wait_for

REQUEST = "4f1c2d9e0b7a4c55"


def written(message: str, *arguments: object, error: BaseException | None = None) -> dict[str, str]:
    """Return a record as it is written."""
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("bookreader.x", logging.ERROR, __file__, 1, message, arguments, info)
    line = logs.Json().format(record)
    assert "\n" not in line
    return dict(json.loads(line))


def test_a_line_says_when_how_bad_who_and_what() -> None:
    line = written("book %s\nis gone", 7)
    assert (line["level"], line["logger"], line["message"]) == ("error", "bookreader.x", "book 7\nis gone")
    assert line["time"].endswith("+00:00")
    assert "request" not in line


def test_an_exception_is_in_its_line() -> None:
    try:
        raise ValueError("no chapter")
    except ValueError as raised:
        line = written("failed", error=raised)
    assert line["error"] == "ValueError: no chapter"
    assert "test_logs.py" in line["traceback"]
    assert sys.exc_info() == (None, None, None)


def upload(server: Server, request: str) -> str:
    """Upload a book as the edge passes it on, and return its number."""
    files, headers = {"file": ("a.txt", b"Chapter 1\n\nOnce.")}, {logs.HEADER: request}
    return str(httpx2.post(f"{server.url}/api/books", files=files, headers=headers).json()["id"])


def test_one_request_is_found_from_the_app_to_the_worker(server: Server, worker: Worker) -> None:
    book = upload(server, REQUEST)

    def worked() -> list[str]:
        return [line["message"] for line in worker.lines() if line.get("request") == REQUEST]

    wait_for(lambda: any("succeeded" in message for message in worked()))
    assert f"book {book} is ready" in worked()
    (stored,) = [line["message"] for line in server.lines() if line.get("request") == REQUEST]
    assert stored.startswith(f"book {book} is stored")

    for unsound in ("", "a b", "x" * 200, 'a"b'):  # the edge would never send it
        book = upload(server, unsound)
        (line,) = [one for one in server.lines() if book in one["message"]]
        assert "request" not in line
