"""Put the web application together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from bookreader import books, debug, events, logs, metrics, notes, probes
from bookreader.limits import BodyLimit
from bookreader.settings import settings


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Run what lives as long as a server process."""
    metrics.forget_dead_processes()
    async with events.hub.running():
        yield


async def refuse(_: Request, error: RequestValidationError) -> JSONResponse:
    """Answer a malformed request with one sentence; its input is not echoed, for NaN is no JSON."""
    wrong = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
    return JSONResponse({"detail": "; ".join(wrong)}, 422)


app = FastAPI(title="BookReader", version=settings().release, lifespan=lifespan, docs_url=None)
app.exception_handler(RequestValidationError)(refuse)
app.add_middleware(BodyLimit)
app.add_middleware(metrics.Measured)
app.add_middleware(logs.Traced)
for room in (books, events, metrics, notes, probes):
    app.include_router(room.router)
if settings().debug_endpoints:
    app.include_router(debug.router)
