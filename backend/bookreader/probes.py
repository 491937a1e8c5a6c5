"""Answer those who watch the container; the edge lets only /health and /version out."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Response
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from bookreader.broker import redis
from bookreader.database import SchemaMismatch, check_database, check_schema
from bookreader.settings import settings

router = APIRouter()


@router.get("/health")
async def health() -> dict[str, str]:
    """Say that the process lives, touching nothing else."""
    return {"status": "ok"}


@router.get("/version")
async def version() -> dict[str, str]:
    """Name the release that answers."""
    return {"release": settings().release}


@router.get("/ready")
def ready(response: Response) -> dict[str, Any]:
    """Say whether requests can be served, and otherwise what is missing."""
    checks = {name: outcome(check) for name, check in CHECKS.items()}
    is_ready = all(said == "ok" for said in checks.values())
    response.status_code = 200 if is_ready else 503
    return {"status": "ready" if is_ready else "not ready", "release": settings().release, "checks": checks}


def outcome(check: Callable[[], None]) -> str:
    """Run a check and say "ok" or the first line of what went wrong."""
    try:
        check()
    except (SQLAlchemyError, RedisError, SchemaMismatch) as error:
        return str(error).partition("\n")[0]
    return "ok"


def check_redis() -> None:
    """Reach Redis, or raise."""
    redis.ping()


CHECKS = {"database": check_database, "redis": check_redis, "schema": check_schema}
