"""Name every file written at run time; nothing is written outside this directory."""

import os
from pathlib import Path

TMP = Path(os.environ.get("TMPDIR", "/tmp"))  # noqa: S108  # the only writable directory of the container

DRAIN_FLAG = TMP / "draining"
METRICS_DIR = TMP / "metrics"
WORKER_ALIVE = TMP / "worker.alive"
WORKER_NAME = TMP / "worker.name"
BEAT_ALIVE = TMP / "beat.alive"
