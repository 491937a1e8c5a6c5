"""What the edge lets out, and a book's way through the whole app behind it."""

from __future__ import annotations

import http.client
import json
import uuid

import pytest

from deploy.core.poll import wait_until
from tests import load
from tests.support.site import Site, docker

BOOK = "Chapter 1. The Harbour\n\nThe boats lay still.\n\nChapter 2. The Storm\n\nThen the wind came.\n"


def test_a_missing_asset_is_a_404_and_never_the_index(bookreader: Site) -> None:
    """An old page that asks for an asset must not be given HTML; every other path is the single page."""
    assert bookreader.get("/assets/index-nope.js")[0] == 404
    status, page = bookreader.get("/books/somewhere")
    assert (status, '<div id="root"' in page) == (200, True)


def test_publishing_again_never_shows_half_an_asset(bookreader: Site) -> None:
    """A release that shares assets with the one that serves is published while they are being read."""
    publish = ["run", "--rm", "--network=none", f"--volume={bookreader.app}-local_site:/site"]
    image = f"{bookreader.app}/frontend"
    with load.during(bookreader.url, load.Scenario(kinds=("get",), rate=600)) as clients:
        for number in range(15):
            docker(*publish, f"--env=RELEASE=again-{number}", image)
        report = clients.report()
    assert report.verdict == load.PASS, f"{report.losses}\n{report.table()}"


def test_a_balancer_sees_that_the_app_does_not_answer(bookreader: Site) -> None:
    """What visitors get is asked, through the edge; not whether the edge itself is up."""
    backends = docker("ps", "--format={{.Names}}", f"--filter=name={bookreader.app}-local-.*-backend-").split()
    assert bookreader.get("/edge-health") == (200, "ok\n")
    docker("stop", *backends)
    try:
        assert bookreader.get("/edge-health")[0] >= 500
        assert bookreader.get("/books/somewhere")[0] == 200, "which says nothing of the backend"
    finally:
        docker("start", *backends)
    assert wait_until(lambda: bookreader.get("/edge-health") == (200, "ok\n"), 60)


@pytest.mark.parametrize(
    "path", ["/ready", "/metrics", "/api/ready", "/api/metrics", "/generation", "/blue/backend/metrics"]
)
def test_inner_paths_stay_inside(bookreader: Site, path: str) -> None:
    """Of the app's bare paths health and version alone are public, under /api."""
    _, body = bookreader.get(path)
    assert "http_request_duration_seconds" not in body
    assert '"checks"' not in body
    assert '"generation"' not in body
    assert bookreader.get("/api/health")[0] == 200
    assert "release" in json.loads(bookreader.get("/api/version")[1])


def test_a_book_is_uploaded_split_by_the_worker_and_read(bookreader: Site) -> None:
    """Upload, parse, list, read: edge, backend, PostgreSQL, Redis and worker together."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="harbour.txt"\r\nContent-Type: text/plain\r\n\r\n'
    connection = http.client.HTTPConnection("127.0.0.1", bookreader.port, timeout=20)
    connection.request(
        "POST",
        "/api/books",
        f"{head}{BOOK}\r\n--{boundary}--\r\n",
        {"Content-Type": f"multipart/form-data; boundary={boundary}"},
    )
    answer = connection.getresponse()
    status, body = answer.status, answer.read()
    connection.close()
    assert status == 201, body
    book = json.loads(body)["id"]
    assert wait_until(lambda: json.loads(bookreader.get(f"/api/books/{book}")[1])["state"] == "ready", 30)
    chapters = json.loads(bookreader.get(f"/api/books/{book}")[1])["chapters"]
    assert [chapter["title"] for chapter in chapters] == ["Chapter 1. The Harbour", "Chapter 2. The Storm"]
    assert (
        "Then the wind came."
        in json.loads(bookreader.get(f"/api/books/{book}/chapters/{chapters[1]['number']}")[1])["text"]
    )
