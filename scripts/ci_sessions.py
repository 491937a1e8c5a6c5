"""Write the sessions that `.ci/run` runs, by nox's own list, as `names=[...]` for the matrix of a job.

Usage: python scripts/ci_sessions.py; to the file that GITHUB_OUTPUT names, else to stdout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NOX = str(Path(sys.executable).parent / "nox")


def main() -> None:
    """Write them in the order in which nox has them."""
    argv = [NOX, "--list", "--json", "--tags=ci"]
    listed = json.loads(subprocess.run(argv, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    names = [session["session"] for session in listed]
    with Path(os.environ["GITHUB_OUTPUT"]).open("a") if "GITHUB_OUTPUT" in os.environ else sys.stdout as output:
        output.write(f"names={json.dumps(names)}\n")


if __name__ == "__main__":
    main()
