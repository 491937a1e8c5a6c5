"""Measure what the edge adds to an answer at 1,000 requests a second, next to the app asked directly in the same run.

Usage: python -m bench.edge [--rounds 5] [--seconds 10]
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import tempfile
from pathlib import Path

from bench.__main__ import report
from bench.measure import Number, run
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests.support.site import ROOT, Site, docker, make_tiny

RATE, CONNECTIONS, ENOUGH = 1000, 10, 0.9
HEY = bases.Base("bench-hey", "", "bookworm", "extract", ("hey",), recipe="1")
ADDRESS = "{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}"


def main() -> None:
    """Run every measurement and print the report."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=10)
    chosen = arguments.parse_args()
    if not bases.present(HEY.local_tag, LocalHost()):
        bases.build(HEY, ROOT, LocalHost())
    with tempfile.TemporaryDirectory(prefix="ops-bench-") as folder:
        site = make_tiny(Path(folder))
        try:
            # headers and body in one packet, or each answer waits 40 ms for an acknowledgement
            site.replace("app/app.py", 'protocol_version = "HTTP/1.1"', 'protocol_version, wbufsize = "HTTP/1.1", -1')
            site.commit()
            site.inv("deploy")
            report(what_the_edge_adds(site, chosen.rounds, chosen.seconds))
        finally:
            site.inv("down", "--volumes", "--yes", code=None)
            site.sweep()


def what_the_edge_adds(site: Site, rounds: int, seconds: int) -> list[Number]:
    """Ask the app and the edge in turns; each turn's median, and what the edge's has more."""
    direct, through = Number("app asked directly, p50", "ms"), Number("through the edge, p50", "ms")
    added = Number(f"the edge adds, p50 at {RATE} requests/s", "ms", 1.0)
    rates: list[float] = []
    for _ in range(rounds):
        for number, place in ((direct, place_of(site, "-app-", 8000)), (through, place_of(site, "-edge-", 8080))):
            median, rate = asked(f"http://{place}/version", seconds)
            number.runs.append(median)
            rates.append(rate)
        added.runs.append(through.runs[-1] - direct.runs[-1])
    added.note = f"{min(rates):.0f} to {max(rates):.0f} requests/s were answered"
    return [direct, through, added]


def place_of(site: Site, kind: str, port: int) -> str:
    """Return where a container of the site listens, on its own network."""
    (name,) = (name for name, state in site.containers().items() if kind in name and state == "running")
    return f"{docker('inspect', '--format', ADDRESS, name).split()[0]}:{port}"


def asked(url: str, seconds: int) -> tuple[float, float]:
    """Ask again and again over kept connections; return the median in ms and the answers a second.

    Raises RuntimeError where one was not 200, or the machine is too busy for so many.
    """
    words = [f"-z={seconds}s", f"-c={CONNECTIONS}", f"-q={RATE // CONNECTIONS}", "-o=csv", url]
    text = run("docker", "run", "--rm", "--network=host", HEY.local_tag, "hey", *words)
    rows = list(csv.DictReader(io.StringIO(text)))
    if wrong := [row["status-code"] for row in rows if row["status-code"] != "200"]:
        raise RuntimeError(f"{len(wrong)} answers of {url} were {wrong[0]}")
    if len(rows) < ENOUGH * RATE * seconds:
        raise RuntimeError(f"{len(rows) / seconds:.0f} answers a second of {RATE}: the machine is too busy to tell")
    return statistics.median(float(row["response-time"]) * 1000 for row in rows), len(rows) / seconds


if __name__ == "__main__":
    main()
