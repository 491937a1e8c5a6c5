"""`inv dev` with the reference app: what is saved is served, Ctrl-C leaves the data and nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from deploy.core.poll import wait_until
from tests.integration.test_days_work import running
from tests.support.site import ROOT, Site, copy_checkout, docker


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A checkout of the reference app, without secrets."""
    made = Site(tmp_path)
    copy_checkout(made)
    made.name_images()
    yield made
    made.inv("down", "--env=dev", "--volumes", "--yes", code=None)
    made.sweep()


@contextmanager
def dev(site: Site, *words: str) -> Iterator[float]:
    """Run it until it says where it is; afterwards Ctrl-C, and nothing of it is left."""
    log, began = site.folder / "dev.log", time.monotonic()
    with running(site, log, "dev", *words) as ran:
        assert wait_until(lambda: "http://" in log.read_text() or ran.poll() is not None, 300), log.read_text()
        assert ran.poll() is None, log.read_text()
        try:
            yield time.monotonic() - began
        except AssertionError as error:
            raise AssertionError(f"{error}\n{log.read_text()}") from error
        os.killpg(ran.pid, signal.SIGINT)
        assert ran.wait(60) == 0, log.read_text()
    assert f'File "{ROOT}' not in log.read_text(), f"a traceback of the toolkit:\n{log.read_text()}"
    assert site.containers() == {}
    assert site.get("/")[0] == 0


def books(site: Site) -> dict[str, str]:
    """The shelf: title -> id of those that can be read."""
    status, body = site.get("/api/books")
    return {book["title"]: book["id"] for book in json.loads(body) if book["state"] == "ready"} if status == 200 else {}


@contextmanager
def page(site: Site) -> Iterator[Callable[[str], str]]:
    """Listen as an open page does; what is given waits for a message of one type."""
    token = re.findall(r'wsToken = "([^"]+)"', site.get("/@vite/client")[1])[0]
    with connect(f"ws://127.0.0.1:{site.port}/?token={token}", subprotocols=[Subprotocol("vite-hmr")]) as socket:

        def output(kind: str) -> str:
            while json.loads(message := str(socket.recv(timeout=60)))["type"] != kind:
                pass
            return message

        yield output


def test_what_is_saved_is_served_and_the_data_stays(site: Site) -> None:
    """In the nights also that `--fresh` begins anew."""
    with dev(site):
        assert '<div id="root">' in site.get("/")[1]
        assert wait_until(lambda: len(books(site)) == 2, 60), site.get("/api/books")
        first = books(site)
        site.replace("backend/bookreader/probes.py", '"status": "ok"', '"status": "changed"')
        assert wait_until(lambda: "changed" in site.get("/api/health")[1], 60), site.get("/api/health")
        assert "a new word" not in site.get("/src/App.tsx")[1]
        with page(site) as raised:
            site.write(
                "frontend/src/App.tsx",
                (site.root / "frontend/src/App.tsx").read_text() + '\nconsole.log("a new word");\n',
            )
            assert "/src/App.tsx" in raised("update")
        assert "a new word" in site.get("/src/App.tsx")[1]
        site.replace("backend/bookreader/probes.py", '"status": "changed"', '"status": broken(')
        assert wait_until(lambda: site.get("/api/health")[0] != 200, 60)
        site.replace("backend/bookreader/probes.py", '"status": broken(', '"status": "repaired"')
        assert wait_until(lambda: "repaired" in site.get("/api/health")[1], 60), site.get("/api/health")
        assert "another operator" in site.inv("dev", code=4).stderr or "locked by" in site.inv("dev", code=4).stderr
    assert f"{site.app}-dev_postgres" in docker("volume", "ls", "--quiet")
    with dev(site) as seconds:
        assert wait_until(lambda: books(site) == first, 30)
    if os.environ.get("NIGHTS"):
        assert seconds < 30  # other tests have the processors too where this is not a night
        with dev(site, "--fresh"):
            assert wait_until(lambda: len(books(site)) == 2, 60)
            assert not set(books(site).values()) & set(first.values())


def test_a_taken_port_is_named(site: Site) -> None:
    import socket

    with socket.create_server(("127.0.0.1", site.port)):
        output = site.inv("dev", code=2).stderr
    assert f"another program uses port {site.port}" in output
    assert "OPS_EDGE__PORT=" in output
    assert subprocess.run(["docker", "volume", "inspect", f"{site.app}-dev_postgres"], capture_output=True).returncode
