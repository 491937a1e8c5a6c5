"""Run a command, and run it anew when a Python file changed: `reload.py FOLDER COMMAND ...`."""

import signal
import subprocess
import sys
import time
from pathlib import Path


def snapshot(folder: str) -> dict[Path, int]:
    """Note when each Python file was changed."""
    found = {}
    for path in Path(folder).rglob("*.py"):
        try:
            found[path] = path.stat().st_mtime_ns
        except FileNotFoundError:  # an editor replaced it just now
            continue
    return found


def main(folder: str, *command: str) -> None:
    """Watch until SIGTERM; a command that ended by itself waits for the next change."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        seen = snapshot(folder)
        process = subprocess.Popen(command)
        try:
            while snapshot(folder) == seen:
                time.sleep(0.5)
        finally:
            process.terminate()
            process.wait()
        print(f"{folder} changed: starting anew", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
