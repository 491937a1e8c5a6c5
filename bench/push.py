"""Measure the first push of all of BookReader's images to an empty server, next to `docker save | ssh docker load`.

Usage: python -m bench.push [--runs 3]
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from functools import partial
from pathlib import Path

from bench.__main__ import report
from bench.measure import Number, timed
from tests.machines import Machine, fleet
from tests.support import remote
from tests.support.site import Site, docker, make_bookreader

EMPTY = "docker image prune --all --force >/dev/null; docker builder prune --all --force >/dev/null"
NAMES = "docker image ls --format '{{.Repository}}:{{.Tag}}'"


def main() -> None:
    """Run every measurement and print the report."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--runs", type=int, default=3)
    runs = arguments.parse_args().runs
    with tempfile.TemporaryDirectory(prefix="ops-push-") as name, fleet(Path(name, "operator")) as machines:
        machine, site = machines.start("bench"), make_bookreader(Path(name, "site"))
        remote.name_hosts(site, {"app1": machine}, machines.key)
        try:
            remote.inv(site, "secrets.init")
            report(first_pushes(site, machine, machines.key, runs))
        finally:
            site.sweep()


def first_pushes(site: Site, machine: Machine, key: Path, runs: int) -> list[Number]:
    """Push the same images both ways in turn, each time to an engine that has none."""
    remote.inv(site, "build", "--push")
    images = machine.sh(NAMES).split()
    ours, plain = Number("first push of all images", "s"), Number("docker save | ssh docker load, the same", "s")
    ratio = Number("first push against docker save | ssh docker load", "x", 1.2)
    for _ in range(runs):
        machine.sh(EMPTY)
        plain.runs.append(timed(partial(load_over_ssh, images, machine, key)))
        machine.sh(EMPTY)
        ours.runs.append(timed(partial(remote.inv, site, "push")))
        ratio.runs.append(ours.runs[-1] / plain.runs[-1])
        if sorted(machine.sh(NAMES).split()) != sorted(images):
            raise RuntimeError("the two ways did not bring the same images")
    sizes = dict(docker("image", "inspect", "--format", "{{.Id}} {{.Size}}", image).split() for image in images)
    ratio.note = f"{len(images)} images, {sum(map(int, sizes.values())) / 1e6:.0f} MB"
    return [ours, plain, ratio]


def load_over_ssh(images: list[str], machine: Machine, key: Path) -> None:
    """Save images here and load them there."""
    ssh = f"ssh -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    line = f"docker save {' '.join(images)} | {ssh} deploy@{machine.address} docker load --quiet"
    subprocess.run(["bash", "-o", "pipefail", "-c", line], check=True, capture_output=True)


if __name__ == "__main__":
    main()
