"""Measure how long the gates keep a person, a scan of BookReader and the quick sessions of nox, and what they miss.

Usage: python -m bench.gates [--runs 3]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.__main__ import report
from bench.measure import Number, run, timed
from tests.support.advisories import served
from tests.support.site import ROOT, Site, make_bookreader

OURS = ("bookreader/backend", "bookreader/frontend")
QUICK = ("lint", "types", "unit")
BLINDED = "tests/unit/test_scan.py::test_a_blinded_scan_is_unknown_and_says_why"  # six faults, two images
PLANTED = "tests/integration/test_scan.py::test_planted_packages_are_found_in_an_image_as_it_is"  # three, on two stores


def main() -> None:
    """Run every measurement and print the report."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--runs", type=int, default=3)
    runs = arguments.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="ops-bench-") as folder:
        site = make_bookreader(Path(folder))
        try:
            site.inv("build")
            report(scans(site, runs))
        finally:
            site.sweep()
    report([
        quick(runs),
        missed("blinded scans that pass, of 12", BLINDED, 12, 12),
        missed("planted vulnerabilities that are not found, of 6", PLANTED, 2, 6),
    ])  # fmt: skip


def scans(site: Site, runs: int) -> list[Number]:
    """Scans of all images and the checkout: the first with this database, then those that read its reports again."""
    with served() as registry:
        done = [scan(site, registry.repository) for _ in range(runs + 1)]
    looked_at = {
        check["where"]: check["looked_at"] for check in done[-1]["checks"] if check["check"] == "vulnerabilities"
    }
    note = ", ".join(f"{name}: {looked_at[name]}" for name in OURS)
    cold, *warm = (one["seconds"] for one in done)
    of = f"{len(done[0]['images'])} images and the checkout"
    return [
        Number(f"scan of {of}, new database", "s", None, None, [cold]),
        Number(f"scan of {of}, warm", "s", 10, 5, warm, note),
    ]


def scan(site: Site, repository: str) -> Any:
    """Scan, and return the report; whatever it came to, since bases of Debian testing have no advisories."""
    return site.inv("scan", "--json", code=None, OPS_SCAN__DATABASES=json.dumps([repository])).document


def quick(runs: int) -> Number:
    """What `nox` alone runs: style, types, unit tests; the first time, which fills caches, is not counted."""
    words = (str(Path(sys.executable).with_name("nox")), "--session", *QUICK)
    run(*words, cwd=str(ROOT))
    seconds = [timed(lambda: run(*words, cwd=str(ROOT))) for _ in range(runs)]
    return Number(f"nox: {', '.join(QUICK)}, warm", "s", 45, None, seconds)


def missed(what: str, test: str, cases: int, of: int) -> Number:
    """How many of a promise's cases do not hold, by its test; one that was not run is none that holds."""
    words = (sys.executable, "-m", "pytest", "-q", test)
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, "NIGHTS": "1"}, capture_output=True, text=True)
    kept = re.findall(r"(\d+) passed", done.stdout)[-1:] or ["0"]
    return Number(what, "", 0, 0, [of - int(kept[0]) * of / cases])


if __name__ == "__main__":
    main()
