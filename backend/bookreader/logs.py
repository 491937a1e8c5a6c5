"""Write logs as lines of JSON with the request that they belong to, from the edge to the worker."""

import json
import logging
import re
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from logging.config import dictConfig
from typing import Any

from celery.signals import setup_logging, task_postrun, task_prerun
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

HEADER = "X-Request-ID"  # the edge sends it, and writes the same into its own log
FIELD = "bookreader_request"  # of a task's message
SOUND = re.compile(r"[\w.:-]{1,128}")

request: ContextVar[str] = ContextVar("request", default="")


class Json(logging.Formatter):
    """Write a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return time, level, logger, message, and the request and the exception where there is one."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request.get():
            line["request"] = request.get()
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            line["error"] = "".join(traceback.format_exception_only(error)).strip()
            line["traceback"] = "".join(traceback.format_tb(error.__traceback__))
        return json.dumps(line, ensure_ascii=False)


def config(level: str = "INFO") -> dict[str, Any]:
    """Return what `dictConfig` takes: everything goes to stdout, through the root alone."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": "bookreader.logs.Json"}},
        "handlers": {
            "stdout": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stdout"}
        },
        "root": {"handlers": ["stdout"], "level": level},
        "loggers": {name: {"handlers": [], "propagate": True} for name in ("uvicorn", "uvicorn.error")},
    }


class Traced:
    """Note the request of the edge for every line that is written about it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Read the header; what is none of the edge's making is left out."""
        if scope["type"] not in ("http", "websocket"):
            return await self.app(scope, receive, send)
        given = Headers(scope=scope).get(HEADER, "")
        request.set(given if SOUND.fullmatch(given) else "")
        await self.app(scope, receive, send)


@setup_logging.connect
def configure(loglevel: int | str | None = None, **_: Any) -> None:
    """Have workers and scheduler write as the web process does; Celery's own set-up is skipped."""
    name = logging.getLevelName(loglevel) if isinstance(loglevel, int) else loglevel
    dictConfig(config(str(name or "INFO")))


@task_prerun.connect
def begin(task: Any = None, **_: Any) -> None:
    """Take up the request that queued a task."""
    request.set(str(task.request.get(FIELD) or ""))


@task_postrun.connect
def end(**_: Any) -> None:
    """Forget it."""
    request.set("")
