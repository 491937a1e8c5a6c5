"""Serve the web application: `python -m bookreader.serve`."""

import multiprocessing
import os
import shutil
import sys

import uvicorn
from uvicorn import _subprocess
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from bookreader import logs
from bookreader.paths import DRAIN_FLAG, METRICS_DIR
from bookreader.settings import Settings, settings

# Longer than nginx keeps an idle upstream connection (60 s): no request meets a socket that just closed.
KEEP_ALIVE_SECONDS = 75
# The longest request that is waited for after SIGTERM.
DRAIN_SECONDS = 60
# A busy machine may keep a process from answering its parent: only one that hangs for this long is replaced.
HUNG_SECONDS = 30
# Nearly all that a server process imports; the metrics' files belong to the process that imports those.
SHARED_IMPORTS = [
    "bookreader.books",
    "bookreader.notes",
    "redis.asyncio",
    "uvicorn.protocols.http.auto",
    "websockets",
]


def main() -> None:
    """Serve until SIGTERM, finish the requests in flight, and leave."""
    config = server_config(settings())
    prepare()
    import_once()
    supervisor = Multiprocess(config, sockets=[config.bind_socket()])
    supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        sys.exit(STARTUP_FAILURE)


def prepare() -> None:
    """Forget the last run, and have every process write its metrics to one directory."""
    DRAIN_FLAG.unlink(missing_ok=True)
    shutil.rmtree(METRICS_DIR, ignore_errors=True)
    METRICS_DIR.mkdir()
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(METRICS_DIR)  # read when prometheus_client is imported


def import_once() -> None:
    """Fork the server processes from one that has imported the app; uvicorn has each import it anew.

    That halves the time until they answer, and saves a quarter of the memory.
    """
    forkserver = multiprocessing.get_context("forkserver")
    forkserver.set_forkserver_preload(SHARED_IMPORTS)
    _subprocess.spawn = forkserver  # type: ignore[assignment]  # uvicorn has no setting for it


def server_config(wanted: Settings) -> uvicorn.Config:
    """Describe the server; one process is supervised as well, so that all end with 0 after SIGTERM."""
    return uvicorn.Config(
        "bookreader.app:app",
        host="0.0.0.0",  # noqa: S104  # the container's network is private
        port=wanted.port,
        workers=wanted.web_processes,
        log_config=logs.config(),
        access_log=False,  # the edge writes the access log
        forwarded_allow_ips="*",  # only the edge reaches the port
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_worker_healthcheck=HUNG_SECONDS,
    )


if __name__ == "__main__":
    main()
