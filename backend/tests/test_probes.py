"""The probes tell the deploy tool the truth."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from fastapi.testclient import TestClient
from redis import Redis
from sqlalchemy import text

from bookreader import probes
from bookreader.database import engine, revisions
from bookreader.health import check_web
from tests.conftest import alembic_config
from tests.processes import BACKEND, serving


@pytest.fixture
def revision() -> Iterator[None]:
    """Put the schema's revision back in the end."""
    yield
    record(revisions()[0])


def record(revision: str | None) -> None:
    """Say in the database which revision its schema has."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM alembic_version"))
        if revision:
            connection.execute(text("INSERT INTO alembic_version VALUES (:it)"), {"it": revision})


@pytest.mark.usefixtures("revision")
@pytest.mark.parametrize(
    ("revision_there", "status", "said"),
    [
        ("0003", 200, "ok"),
        ("f00d", 200, "ok"),
        ("0002", 503, "the schema is at 0002, this release needs 0003"),
        (None, 503, "there is no schema, this release needs 0003"),
    ],
    ids=["head", "newer", "older", "none"],
)
def test_schema_rule(client: TestClient, revision_there: str | None, status: int, said: str) -> None:
    record(revision_there)
    response = client.get("/ready")
    assert (response.status_code, response.json()["checks"]["schema"]) == (status, said)


def test_ready_names_what_is_away(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "redis", Redis.from_url("redis://127.0.0.1:1/0"))
    response = client.get("/ready")
    assert (response.status_code, response.json()["status"]) == (503, "not ready")
    assert "refused" in response.json()["checks"]["redis"]
    assert response.json()["checks"]["database"] == "ok"


def test_bare_probes(client: TestClient) -> None:
    assert client.get("/health").json() == {"status": "ok"}
    assert client.get("/version").json() == {"release": "tested"}


def test_models_and_migrations_agree() -> None:
    command.check(alembic_config())
    assert revisions()[0] == ScriptDirectory.from_config(alembic_config()).get_current_head()


def test_debug_endpoints_are_off_by_default() -> None:
    asked = "from fastapi.testclient import TestClient; from bookreader.app import app; "
    asked += "print(TestClient(app).get('/api/debug/sleep').status_code)"
    env = {name: value for name, value in os.environ.items() if name != "DEBUG_ENDPOINTS"}
    command = [sys.executable, "-c", asked]
    done = subprocess.run(command, cwd=BACKEND, env=env, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "404"


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL"])
@pytest.mark.parametrize("command", [["bookreader.serve"], ["celery", "-A", "bookreader.worker", "worker"]])
def test_missing_variable_is_named_in_one_line(name: str, command: list[str]) -> None:
    env = {**os.environ, name: ""}
    command = [sys.executable, "-m", *command]
    done = subprocess.run(command, cwd=BACKEND, env=env, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert done.stderr.startswith(f"bookreader: the variable {name} is missing")
    assert done.stderr.count("\n") == 1


def test_health_check_imports_next_to_nothing() -> None:
    command = [sys.executable, "-X", "importtime", "-m", "bookreader.health", "beat"]
    done = subprocess.run(command, cwd=BACKEND, capture_output=True, text=True, check=False)
    assert not any(
        heavy in done.stderr for heavy in ("fastapi", "sqlalchemy", "celery", "redis", "http.client")
    )


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", ""),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\nno database", "no database"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the server's answer is no HTTP"),
        (b"", "the server's answer is no HTTP"),
    ],
)
def test_health_check_says_what_the_server_lacks(
    answer: bytes, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("PORT", str(server.getsockname()[1]))
        with ThreadPoolExecutor() as pool:
            found = pool.submit(check_web)
            connection, _ = server.accept()
            with connection:
                assert connection.recv(65536).startswith(b"GET /ready HTTP/1.0\r\n")
                connection.sendall(answer)
            assert found.result(timeout=5) == words
    assert check_web().startswith("the server does not answer: ")


def test_metrics_of_all_processes_have_a_bucket_at_200_ms(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        for _ in range(20):  # new connections, so that both processes get some
            httpx2.get(f"{server.url}/version")
        seen = httpx2.get(f"{server.url}/metrics").text
    assert 'http_request_duration_seconds_bucket{handler="/version",le="0.2",method="GET"} 20.0' in seen
    assert 'http_requests_total{handler="/version",method="GET",status="200"} 20.0' in seen
    assert "http_requests_in_progress 0.0" in seen
