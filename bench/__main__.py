"""Measure the rows of the design on BookReader, against plain `docker compose up -d --build` in the same run.

Usage: python -m bench [--deploys 20] [--runs 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from bench.measure import Number, run, timed, until_served
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests import load
from tests.support.queue import Queue
from tests.support.site import ROOT, Site, docker, free_port, make_bookreader, make_tiny

TOUCHED = "backend/bookreader/paths.py"
# the same on a machine of this kind, as the design has it
KAMAL_PROXY_SECONDS = 4.4


def main() -> None:
    """Run every measurement and print the report."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--deploys", type=int, default=20)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--json", type=Path)
    chosen = arguments.parse_args()
    numbers: list[Number] = []
    with tempfile.TemporaryDirectory(prefix="ops-bench-") as folder:
        site = make_bookreader(Path(folder))
        try:
            site.inv("deploy")
            parts = (
                partial(peers, Path(folder) / "tiny", chosen.runs),
                partial(builds, site, chosen.runs),
                partial(deploys, site, chosen.runs),
                partial(listing, chosen.runs),
                partial(plain, site),
                partial(under_load, site, chosen.deploys),
                partial(rolling_under_load, site, chosen.deploys // 4),
            )
            for part in parts:
                measured = part()
                report(measured)
                numbers += measured
        finally:
            site.inv("down", "--volumes", "--yes", code=None)
            site.sweep()
    if chosen.json:
        rows = [asdict(n) | {"median": n.median, "verdict": n.verdict} for n in numbers]
        chosen.json.write_text(json.dumps({"commit": commit(), "numbers": rows}, indent=1) + "\n")


def change(site: Site) -> None:
    """Change one line of the backend."""
    with (site.root / TOUCHED).open("a") as file:
        file.write(f"# {time.time()}\n")
    site.commit()


def builds(site: Site, runs: int) -> list[Number]:
    """Build times and image sizes."""
    unchanged = Number("build, nothing changed", "s", 3, 1.5, [timed(lambda: site.inv("build")) for _ in range(runs)])
    one_line = Number("build, one line changed", "s", 10, 5)
    for _ in range(runs):
        change(site)
        one_line.runs.append(timed(lambda: site.inv("build")))
    cold = Number("build, cold, bases present", "s", 120, 60, [timed(lambda: site.inv("build", "--no-cache"))])
    images = {image["image"]: image["bytes"] / 1e6 for image in site.inv("build", "--json").document["images"]}
    return [
        unchanged, one_line, cold,
        Number("image, backend", "MB", 200, 130, [images["bookreader/backend"]]),
        Number("image, frontend", "MB", 80, 45, [images["bookreader/frontend"]]),
    ]  # fmt: skip


def deploys(site: Site, runs: int) -> list[Number]:
    """Deploys and rollbacks without load; the time ends when the new release is first served."""
    new = Number("deploy, new code, images built, until served", "s", 60, 20)
    whole = Number("deploy, new code, until the old colour is stopped", "s")
    back = Number("rollback, cold, until the old release serves", "s", 15, 8)
    healthy = Number("container start until healthy (backend)", "s", 15, 3)
    for _ in range(runs):
        change(site)
        site.inv("build")
        served, ended = until_served(site.port, None, lambda: str(site.inv("deploy", "--json").document["release"]))
        new.runs.append(served)
        whole.runs.append(ended)
        healthy.runs.append(start_to_healthy(site))
        back.runs.append(until_served(site.port, None, partial(go_back, site))[0])
        site.inv("deploy")
    warm = Number("rollback, warm, until the old release serves", "s", 3, 1)
    for _ in range(runs):
        change(site)
        site.inv("deploy", OPS_ROLLOUT__KEEP_WARM="true")
        warm.runs.append(until_served(site.port, None, partial(go_back, site, warm="true"))[0])
    site.inv("deploy")
    nothing = Number("deploy, nothing to do", "s", 5, 2, [timed(lambda: site.inv("deploy")) for _ in range(runs)])
    return [new, whole, nothing, back, warm, healthy]


def go_back(site: Site, warm: str = "false") -> str:
    """Roll back; return the release that serves then."""
    return str(site.inv("rollback", "--json", OPS_ROLLOUT__KEEP_WARM=warm).document["release"])


def start_to_healthy(site: Site) -> float:
    """Seconds from the start of the live backend's container to its first passed health check."""
    from datetime import datetime

    status = site.inv("status", "--json").document
    name = f"{site.app}-local-{status['colour']}-backend-{status['colour']}-1"
    state = json.loads(docker("inspect", "--format", "{{json .State}}", name))
    passed = next(entry["End"] for entry in state["Health"]["Log"] if entry["ExitCode"] == 0)
    return (datetime.fromisoformat(passed[:26]) - datetime.fromisoformat(state["StartedAt"][:26])).total_seconds()


def under_load(site: Site, count: int) -> list[Number]:
    """Deploys and rollbacks in turn, under all clients."""
    with load.during(site.url) as clients, Queue(site.port, long=30, long_every=40) as queue:
        for number in range(count):
            if number % 4 == 3:
                site.inv("rollback")
            else:
                change(site)
                site.inv("deploy")
        result = clients.report()
    lost, doubled = queue.verdict()
    tasks = f"of {len(queue.accepted)}, short ones and some of 30 s"
    sys.stderr.write(result.table() + "\n")
    requests = sum(kind.requests for kind in result.kinds.values())
    return [
        Number(
            f"requests lost over {count} deploys and rollbacks",
            "requests",
            0,
            0,
            [result.lost],
            f"of {requests}; {result.verdict}",
        ),
        Number(
            f"tasks lost or run twice over {count} deploys and rollbacks",
            "tasks",
            0,
            0,
            [len(lost) + len(doubled)],
            tasks,
        ),
    ]


def rolling_under_load(site: Site, count: int) -> list[Number]:
    """The same with two backends that change places one by one."""
    site.extra |= {"OPS_ROLLOUT__STRATEGY": "rolling"}
    site.inv("scale", "backend=2")
    rows = under_load(site, count)
    return [replace(row, what=f"{row.what}, rolling") for row in rows]


def peers(folder: Path, runs: int) -> list[Number]:
    """One small service, one line changed: from the deploy's start until the old container is stopped.

    And plain Compose.
    """
    site, port = make_tiny(folder), free_port()
    references = bases.prepare(ROOT, "auto", bases.read(ROOT), LocalHost())
    environment = {
        **os.environ,
        "PLAIN_PROJECT": f"{site.app}plain",
        "PLAIN_PORT": str(port),
        "CHECKOUT": str(site.root),
        "BASE_PYTHON": references["python"],
        "RELEASE": "0",
    }
    up = ["docker", "compose", "-f", str(ROOT / "bench/plain/tiny.yml"), "up", "--detach", "--build", "--wait"]
    ours = Number(
        "one small service, start of deploy to old stopped", "s", 1.2 * KAMAL_PROXY_SECONDS, 0.8 * KAMAL_PROXY_SECONDS
    )
    plainly = Number("plain compose, the same", "s")
    lost = Number("plain compose, the same: requests lost in one deploy", "requests")
    try:
        site.inv("deploy")
        bring_up(up, environment)
        for number in range(1, runs + 1):
            site.write("app/app.py", (site.root / "app/app.py").read_text() + f"# {number}\n")
            site.commit()
            ours.runs.append(timed(partial(site.inv, "deploy")))
            with load.during(
                f"http://127.0.0.1:{port}", load.Scenario(kinds=("get", "new"), paths=("/version",))
            ) as clients:
                site.write("app/app.py", (site.root / "app/app.py").read_text() + f"# {number}\n")
                plainly.runs.append(timed(partial(bring_up, up, {**environment, "RELEASE": str(number)})))
                lost.runs.append(clients.report().lost)
    finally:
        subprocess.run([*up[:4], "down", "--volumes", "--rmi=local"], env=environment, capture_output=True)
        site.sweep()
    return [ours, plainly, lost]


def plain(site: Site) -> list[Number]:
    """The baseline: one line changed, `docker compose up -d --build --wait` until the new version is served."""
    project, port = f"{site.app}plain", free_port()
    references = bases.prepare(ROOT, "auto", bases.read(ROOT), LocalHost())
    named = {f"BASE_{name.upper().replace('-', '_')}": reference for name, reference in references.items()}
    edge = docker("image", "inspect", "--format", "{{.Id}}", "bookreader/edge").strip()
    environment = {
        **os.environ,
        **named,
        "PLAIN_PROJECT": project,
        "PLAIN_PORT": str(port),
        "CHECKOUT": str(site.root),
        "EDGE_IMAGE": edge,
        "PLAIN_FOLDER": str(ROOT / "bench" / "plain"),
    }
    file = str(ROOT / "bench/plain/compose.yml")
    up = ["docker", "compose", "-f", file, "up", "--detach", "--build", "--wait"]
    try:
        run(*up, env={**environment, "RELEASE": "plain-0"})
        times, lost = (
            Number("plain compose, one line changed, until served", "s"),
            Number("plain compose, requests lost in one deploy", "requests"),
        )
        unchanged = Number(
            "plain compose, nothing changed",
            "s",
            runs=[timed(lambda: run(*up, env={**environment, "RELEASE": "plain-0"}))],
        )
        for number in range(1, 4):
            change(site)
            with load.during(
                f"http://127.0.0.1:{port}", load.Scenario(kinds=("get", "new"), paths=("/api/version",))
            ) as clients:
                release = f"plain-{number}"
                served, _ = until_served(port, release, partial(bring_up, up, {**environment, "RELEASE": release}))
                times.runs.append(served)
                lost.runs.append(clients.report().lost)
    finally:
        subprocess.run(
            ["docker", "compose", "-f", file, "down", "--volumes"],
            env={**environment, "RELEASE": ""},
            capture_output=True,
        )
    return [times, unchanged, lost]


def bring_up(up: list[str], environment: dict[str, str]) -> None:
    """Run `docker compose up` for one release."""
    run(*up, env=environment)


def listing(runs: int) -> list[Number]:
    """`inv --list` and that of a tasks.py with one task, in turn."""
    ratio = Number("inv --list against a one-task tasks.py", "x", 2, 1.3)
    inv = shutil.which("inv", path=str(Path(sys.executable).parent)) or "inv"
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "tasks.py").write_text('from invoke import task\n\n\n@task\ndef hello(c):\n    """Say hello."""\n')
        for _ in range(runs):
            ours = timed(lambda: run(inv, "--list", cwd=str(ROOT)))
            ratio.runs.append(ours / timed(lambda: run(inv, "--list", cwd=folder)))
    return [ratio]


def report(numbers: list[Number]) -> None:
    """Print what one part measured."""
    sys.stdout.write(f"{'what':<58} {'median':>8} {'min':>8} {'max':>8}  {'must':>6} {'aim':>6}  verdict\n")
    for n in numbers:
        must, aim = ("-" if limit is None else f"{limit:g}" for limit in (n.must, n.aim))
        times = f"{n.median:>8.2f} {min(n.runs):>8.2f} {max(n.runs):>8.2f}"
        sys.stdout.write(f"{n.what:<58} {times}  {must:>6} {aim:>6}  {n.verdict} {n.note}\n")
    sys.stdout.flush()


def commit() -> str:
    """The commit that was measured."""
    return run("git", "-C", str(ROOT), "rev-parse", "HEAD").strip()


if __name__ == "__main__":
    main()
