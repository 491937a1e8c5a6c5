"""Read the configuration, which comes from the environment only."""

import os
from dataclasses import dataclass, field
from functools import cache

EXAMPLES = {
    "DATABASE_URL": "postgresql+psycopg://user:password@postgres:5432/bookreader",
    "REDIS_URL": "redis://redis:6379/0",
}


@dataclass(frozen=True)
class Settings:
    """Hold what differs between environments; the addresses may carry passwords and are never printed."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    release: str
    debug_endpoints: bool
    web_processes: int
    port: int


@cache
def settings() -> Settings:
    """Read the environment once, or stop the process with one line that names what is wrong."""
    return Settings(
        database_url=required("DATABASE_URL"),
        redis_url=required("REDIS_URL"),
        release=os.environ.get("RELEASE") or "dev",
        debug_endpoints=os.environ.get("DEBUG_ENDPOINTS", "").lower() == "true",
        web_processes=number("WEB_PROCESSES", 2),
        port=number("PORT", 8000),
    )


def required(name: str) -> str:
    """Return a variable that has no sensible default."""
    value = os.environ.get(name, "")
    if not value:
        raise SystemExit(f"bookreader: the variable {name} is missing, for example {EXAMPLES[name]}")
    return value


def number(name: str, default: int) -> int:
    """Return a positive whole number."""
    value = os.environ.get(name) or str(default)
    if not value.isdecimal() or int(value) < 1:
        raise SystemExit(f"bookreader: {name} must be a whole number above 0, not {value!r}")
    return int(value)
