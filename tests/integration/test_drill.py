"""Recovery points that are restored where nobody is reached from, with the app's own images started on them."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.core.poll import wait_until
from tests.support.site import ROOT, Site, docker

BOOK = "Chapter 1. The Harbour\n\nThe boats lay still.\n\nChapter 2. The Storm\n\nThen the wind came.\n"
SMOKE = 'smoke: ["python", "-m", "bookreader.smoke"]'
BROKEN = """smoke: ["python", "-c", "raise SystemExit('no book can be read')"]"""
MIGRATION = '''"""Shelves."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0004", "0003"


def upgrade() -> None:
    op.create_table("shelves", sa.Column("name", sa.Text(), primary_key=True))
'''


@pytest.fixture(scope="module")
def shop(bookreader: Site) -> Iterator[Site]:
    """A first release in service, a book on its shelf, and a recovery point of that."""
    upload(bookreader)
    bookreader.inv("backup")
    yield bookreader
    subprocess.run(["docker", "compose", "-p", project(bookreader), "down", "--volumes"], capture_output=True)


def upload(site: Site) -> None:
    """Put a book on the shelf, and wait until it was parsed."""
    boundary = uuid.uuid4().hex
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="harbour.txt"\r\n\r\n'
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=20)
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    connection.request("POST", "/api/books", f"{head}{BOOK}\r\n--{boundary}--\r\n", kind)
    book = json.loads(connection.getresponse().read())["id"]
    connection.close()
    assert wait_until(lambda: json.loads(site.get(f"/api/books/{book}")[1])["state"] == "ready", 30)


def project(site: Site) -> str:
    return f"0-drill-{site.app}-local"


def left(site: Site) -> list[str]:
    """What is there of a drill: containers, volumes, networks, files."""
    label = f"--filter=label=com.docker.compose.project={project(site)}"
    there = [docker("ps", "-aq", label), docker("volume", "ls", "-q", label), docker("network", "ls", "-q", label)]
    return [*" ".join(there).split(), *(path.name for path in (site.state / "drill").glob("*"))]


def results(drilled: Any) -> dict[str, str]:
    return {check["asked"]: check["result"] for check in drilled["checks"]}


def test_a_point_counts_once_the_app_has_read_it_where_it_was_restored(shop: Site) -> None:
    before, shelf = shop.inv("status", "--json").document, shop.get("/api/books")
    (drilled,) = shop.inv("backup.drill", "--json").document["points"]
    assert results(drilled) == dict.fromkeys(
        ["rows", "amcheck", "current release starts", "current release's smoke", "within 900 s"], "PASS"
    )
    assert "2 chapters" in drilled["checks"][3]["evidence"], "what the smoke command has read"
    assert drilled["state"] == "restored"
    assert [point["state"] for point in shop.inv("backup.list", "--json").document] == ["restored"]
    assert left(shop) == []
    after = {**shop.inv("status", "--json").document, "backup": before["backup"]}
    assert (after, shop.get("/api/books")) == (before, shelf), "the site is what it was"


@pytest.mark.night
def test_the_drill_after_one_that_was_killed_removes_what_that_left(shop: Site) -> None:
    argv, before = [sys.executable, "-m", "invoke", "backup.drill"], shop.inv("status", "--json").document
    with subprocess.Popen(
        argv, cwd=ROOT, env=shop.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as ran:
        assert wait_until(lambda: len(left(shop)) > 4, 30), "containers, volumes, a network and the rendered file"
        assert shop.inv("status", "--json").document == before, "nothing of it is taken for the site's"
        ran.send_signal(signal.SIGKILL)
    # what it has begun goes on for a moment, and holds its lock
    assert wait_until(lambda: shop.inv("backup.drill", code=None).code == 0, 60, pause=1)
    assert left(shop) == []


@pytest.mark.night
def test_a_point_that_the_release_cannot_read_does_not_count(shop: Site) -> None:
    """It reads neither the new point nor the one of the schema before; the previous release reads both."""
    shop.replace("docker/compose.app.yml", SMOKE, BROKEN)
    shop.write("backend/migrations/versions/0004_shelves.py", MIGRATION)
    shop.commit()
    shop.inv("deploy")
    shop.inv("backup")
    done = shop.inv("backup.drill", "--json", code=3)
    latest, older = done.document["points"]
    failed = {"current release's smoke": "FAIL"}
    passed = [
        "rows",
        "amcheck",
        "current release starts",
        "previous release starts",
        "previous release's smoke",
        "within 900 s",
    ]
    assert results(latest) == results(older) == dict.fromkeys(passed, "PASS") | failed
    evidence = {check["asked"]: check["evidence"] for check in latest["checks"]}
    assert "no book can be read" in evidence["current release's smoke"]
    assert "2 chapters" in evidence["previous release's smoke"]
    assert "was run first" in older["checks"][2]["evidence"]
    assert "was run first" not in latest["checks"][2]["evidence"]
    states = {point["id"]: point["state"] for point in shop.inv("backup.list", "--json").document}
    assert states == {latest["id"]: "taken", older["id"]: "restored"}, "the older one was read by the release before"
    assert "no book can be read" in done.stderr or f"{latest['id']} current release's smoke is FAIL" in done.stderr
    assert left(shop) == []
