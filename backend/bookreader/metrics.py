"""Measure requests, the processes of one container counted together."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from fastapi import APIRouter, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bookreader.paths import METRICS_DIR

# Probes ask all day long: they would flatter the latency, and "no request in flight" would never be seen.
UNCOUNTED = {"/health", "/ready", "/metrics"}

SECONDS = Histogram(
    "http_request_duration_seconds",
    "Time from the first byte of a request to the last byte of its answer.",
    ["method", "handler"],
    buckets=(0.05, 0.1, 0.2, 0.5, 1, 2.5, 5),
)
REQUESTS = Counter("http_requests", "Requests answered.", ["method", "handler", "status"])
IN_PROGRESS = Gauge("http_requests_in_progress", "Requests in flight.", multiprocess_mode="livesum")
WEBSOCKETS = Gauge("websocket_connections", "Open WebSockets.", multiprocess_mode="livesum")

router = APIRouter()


class Measured:
    """Time every request but the probes."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the status on its way out; a request that raised counts as 500."""
        if scope["type"] != "http" or scope["path"] in UNCOUNTED:
            return await self.app(scope, receive, send)
        scope["status"] = 500

        async def noted(message: Message) -> None:
            scope["status"] = message.get("status", scope["status"])
            await send(message)

        with measured(scope):
            await self.app(scope, receive, noted)


@contextmanager
def measured(scope: Scope) -> Iterator[None]:
    """Record one request under its route, never under its path: paths are without number."""
    started = perf_counter()
    try:
        with IN_PROGRESS.track_inprogress():
            yield
    finally:
        handler = getattr(scope.get("route"), "path", "none")
        SECONDS.labels(scope["method"], handler).observe(perf_counter() - started)
        REQUESTS.labels(scope["method"], handler, scope["status"]).inc()


@router.get("/metrics")
def metrics() -> Response:
    """Report this container's metrics to Prometheus."""
    return Response(generate_latest(registry()), media_type=CONTENT_TYPE_LATEST)


def registry() -> CollectorRegistry:
    """Return what collects over all processes, or this process alone when it is the only one."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return REGISTRY
    together = CollectorRegistry()
    MultiProcessCollector(together)  # type: ignore[no-untyped-call]  # prometheus_client leaves it out
    return together


def forget_dead_processes() -> None:
    """Drop the gauges of processes that are gone, which would count their requests as in flight for ever."""
    for file in METRICS_DIR.glob("gauge_live*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not Path(f"/proc/{pid}").exists():
            mark_process_dead(pid, str(METRICS_DIR))  # type: ignore[no-untyped-call]  # left out as well
