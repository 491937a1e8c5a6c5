"""Measure commands on a server that is far away: sshd on this machine behind a proxy that delays, with its own engine.

Usage: python -m bench.far [--milliseconds 100] [--runs 3]
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from bench.__main__ import report
from bench.measure import Number, timed
from tests.machines import Machine
from tests.support import remote, sshd
from tests.support.delay import delayed
from tests.support.site import Site, make_tiny, remove_labelled


def main() -> None:
    """Run every measurement, at once and behind the delay, and print the report."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--milliseconds", type=float, default=100)
    arguments.add_argument("--runs", type=int, default=3)
    chosen = arguments.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="ops-far-") as name,
        sshd.running(Path(name, "sshd")) as server,
        delayed(server.port, chosen.milliseconds / 1000) as far,
    ):
        report(measured(Path(name, "site"), server, far, chosen.runs))


def measured(folder: Path, server: sshd.Sshd, far: int, runs: int) -> list[Number]:
    """Time the same commands through a port with a delay; a deploy also without, in the same run."""
    status, idle = Number("status", "s", 1.5, 1), Number("deploy with nothing to do", "s", 6, 4)
    back, beyond = Number("rollback", "s", 20, 15), Number("deploy, beyond the one without a delay", "s", 15)
    programs = Number("programs that a deploy starts on the server", "programs")
    site = make_tiny(folder)

    def deploy(port: int) -> float:
        change(site)
        at(site, server, port)
        remote.inv(site, "build", "--push")
        return timed(lambda: remote.inv(site, "deploy"))

    try:
        deploy(server.port)  # the first starts the edge
        for _ in range(runs):
            near = deploy(server.port)
            before = sessions(server)
            beyond.runs.append(deploy(far) - near)
            programs.runs.append(sessions(server) - before)
            for number, words in ((status, "status"), (idle, "deploy"), (back, "rollback")):
                number.runs.append(timed(partial(remote.inv, site, words)))
    finally:
        for kind in ("containers", "volumes", "networks"):
            remove_labelled(kind, site.app, remote.ENV)
        site.sweep()
    return [status, idle, back, beyond, programs]


def at(site: Site, server: sshd.Sshd, port: int) -> None:
    """Name the server by one of its two ports."""
    machine = cast(Machine, SimpleNamespace(address="127.0.0.1", key=server.key))
    more = 'connect_within = 20\n[variables]\nBEHAVIOUR = "well"'
    remote.name_hosts(site, {"app1": machine}, server.folder / "user", more, {"app1": f"port = {port}"})


def change(site: Site) -> None:
    """Give the site another commit."""
    program = site.root / "app/app.py"
    program.write_text(f"{program.read_text()}# again\n")
    site.commit()


def sessions(server: sshd.Sshd) -> int:
    """Count the programs that were started over SSH."""
    return server.log.count("Starting session: command")


if __name__ == "__main__":
    main()
