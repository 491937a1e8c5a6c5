"""Give the tests a database of their own on a real server, and start real processes on free ports."""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from alembic.config import Config
from fastapi.testclient import TestClient
from sqlalchemy import NullPool, create_engine, make_url, text

from tests.processes import Server, Worker, serving, working

DATABASE = f"bookreader_test_{uuid4().hex[:8]}"


def pytest_configure() -> None:
    """Point the app at a database that does not exist yet; its settings are read when it is imported."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        if not os.environ.get(name):
            raise pytest.UsageError(f"{name} is missing: the tests need a PostgreSQL and a Redis to write to")
    os.environ.update(DATABASE_URL=address(DATABASE), DEBUG_ENDPOINTS="true", RELEASE="tested")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run one part of the tests where `PART` is such as `2/4`: they mostly wait, and parts run at once."""
    number, parts = map(int, os.environ.get("PART", "1/1").split("/"))
    items[:] = items[number - 1 :: parts]


def address(database: str) -> str:
    """Return the address of another database on the same server."""
    return make_url(os.environ["DATABASE_URL"]).set(database=database).render_as_string(hide_password=False)


@pytest.fixture(scope="session", autouse=True)
def database() -> Iterator[None]:
    """Create the tests' database, migrate it to head, and drop it in the end."""
    admin = create_engine(address("postgres"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {DATABASE}"))
        try:
            command.upgrade(alembic_config(), "head")
            yield
        finally:
            connection.execute(text(f"DROP DATABASE {DATABASE} WITH (FORCE)"))


def alembic_config() -> Config:
    """Read the configuration that the deploy tool reads."""
    return Config(Path(__file__).parent.parent / "alembic.ini")


@pytest.fixture
def client() -> TestClient:
    """Call the app in this process; its lifespan is not started."""
    from bookreader.app import app

    return TestClient(app)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Run a real server with two processes."""
    with serving(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """Run a real worker."""
    with working(tmp_path_factory.mktemp("worker")) as running:
        yield running
