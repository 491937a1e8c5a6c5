"""Measure what other machines add: SSH, bytes sent per changed layer, eight hosts against one, what three lose.

Usage: python -m bench.hosts [--runs 3] [--deploys 20]
"""

from __future__ import annotations

import argparse
import io
import os
import tempfile
import time
from contextlib import redirect_stderr
from pathlib import Path

from bench.__main__ import report
from bench.measure import Number, timed
from deploy.config import checkout
from deploy.config.environment import enter
from deploy.core.shell import Command, Result
from deploy.images import build, inventory
from deploy.release import desired
from tests import load
from tests.machines import Machine, fleet
from tests.support import remote
from tests.support.apart import Apart
from tests.support.apart import Site as Simulated
from tests.support.site import Site, make_tiny

COMMAND_SECONDS = 0.02  # of a simulated host: a round trip, and the program
START_SECONDS = 2.0  # until its containers run
HOSTS = 8
PLAIN = """services:
  app:
    image: ${IMAGE}
    environment: {BEHAVIOUR: well, RELEASE: "${RELEASE}"}
    ports: ["8000:8000"]
"""
CHANGED = 500_000  # bytes, of a release's change; they pack to half of their text


def main() -> None:
    """Run every measurement and print the report."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--deploys", type=int, default=20)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="ops-bench-") as name:
        folder = Path(name)
        report(over_ssh(folder, chosen.runs))
        report(eight_hosts(folder, chosen.runs))
        report(three_hosts(folder / "three", chosen.deploys))


def over_ssh(folder: Path, runs: int) -> list[Number]:
    """The same release of the tiny app here and on a test host, images there already; and the bytes that these took."""
    overhead = Number("deploy over SSH, beyond the same deploy here", "s", 5)
    sent = Number("bytes sent per byte of changed layers", "x", 1.2, 1.05)
    overhead_bytes = Number("bytes sent beside changed layers: manifests, configurations", "kB")
    here, there = Number("deploy of one small service, here", "s"), Number("deploy of one small service, over SSH", "s")
    site = make_tiny(folder / "site")
    program = site.root / "app/app.py"
    own = program.read_text()
    with fleet(folder / "operator") as machines:
        machine = machines.start("bench")
        remote.name_hosts(site, {"app1": machine}, machines.key, '[variables]\nBEHAVIOUR = "well"')
        try:
            before = blobs(site)
            for number in range(runs + 1):
                program.write_text(f"{own}CHANGE = {os.urandom(CHANGED).hex()!r}\n")
                site.commit()
                shipped = remote.inv(site, "build", "--push", "--json").document["hosts"][0]["sent"]
                after = blobs(site)
                local, far = timed(lambda: site.inv("deploy")), timed(lambda: remote.inv(site, "deploy"))
                if number:  # the first starts the edge
                    changed = sum(size for blob, size in after.items() if blob not in before)
                    sent.runs.append(shipped / changed)
                    overhead_bytes.runs.append((shipped - changed) / 1000)
                    here.runs.append(local)
                    there.runs.append(far)
                    overhead.runs.append(far - local)
                before = after
        finally:
            site.sweep()
    return [here, there, overhead, sent, overhead_bytes]


def blobs(site: Site) -> dict[str, int]:
    """The layers of this checkout's images as they are saved: name -> bytes."""
    os.environ.update({key: value for key, value in site.environment.items() if key.startswith("OPS_")})
    at = enter(remote.ENV)
    built = build.build_and_keep(*at.machine)
    own = [image.name for image in built.images]
    names = {name for used in desired.images_of_hosts(at).values() for name in used}
    transfers = inventory.find_transfers(names, own, checkout.read(at.settings.root, at.here).revision, at.here)
    return {layer.blob: layer.size for transfer in transfers for layer in transfer.image.layers}


def three_hosts(folder: Path, count: int) -> list[Number]:
    """Deploys and rollbacks in turn on three test hosts, one on the classic image store, under clients on each."""
    site = make_tiny(folder / "site")
    program = site.root / "app/app.py"
    ours, plainly = (
        Number("three hosts, a deploy or rollback under load", "s"),
        Number("plain compose on one host, the same", "s"),
    )
    try:
        with fleet(folder / "operator") as machines:
            hosts = {
                name: machines.start(name, "classic" if name == "app3" else "containerd")
                for name in ("app1", "app2", "app3")
            }
            remote.name_hosts(site, hosts, machines.key, '[variables]\nBEHAVIOUR = "well"')
            remote.inv(site, "build", "--push")
            remote.inv(site, "deploy")
            with remote.under_load(site, hosts) as clients:
                for number in range(count):
                    if number % 4 == 3:
                        ours.runs.append(timed(lambda: remote.inv(site, "rollback")))
                        continue
                    program.write_text(f"{program.read_text()}# {number}\n")
                    site.commit()
                    remote.inv(site, "build", "--push")
                    ours.runs.append(timed(lambda: remote.inv(site, "deploy")))
                results = [one.report() for one in clients.values()]
            lost = plain(hosts["app1"], plainly)
    finally:
        site.sweep()
    asked = sum(kind.requests for result in results for kind in result.kinds.values())
    note = f"of {asked}; {', '.join(result.verdict for result in results)}"
    return [
        ours,
        Number(
            f"requests lost on three hosts over {count} of those",
            "requests",
            0,
            0,
            [sum(r.lost for r in results)],
            note,
        ),
        plainly,
        lost,
    ]


def plain(machine: Machine, seconds: Number) -> Number:
    """The baseline: the app's last two images in turn by `docker compose up`, on one of those hosts."""
    images = machine.sh("docker image ls --format '{{.Repository}}:{{.Tag}}' tiny/app").split()[:2]
    machine.sh("mkdir -p /root/plain; cat >/root/plain/compose.yml <<'END'\n" + PLAIN + "END")
    lost = Number("plain compose on one host, the same: requests lost in one", "requests")
    scenario = load.Scenario(kinds=("get", "new"), paths=("/version",), connections=4, rate=60, new_rate=15)
    for number in range(5):
        up = f"cd /root/plain && IMAGE={images[number % 2]} RELEASE=plain-{number} docker compose up --detach --wait"
        if number == 0:
            machine.sh(up)
            continue
        with load.during(f"http://{machine.address}:8000", scenario) as clients:
            seconds.runs.append(timed(lambda up=up: machine.sh(up)))  # type: ignore[misc]  # a default binds it
            lost.runs.append(clients.report().lost)
    return lost


class Slow(Apart):
    """A host as far away as a server is."""

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        """Take as long as a command there."""
        time.sleep(START_SECONDS if "up" in command.argv else COMMAND_SECONDS)
        return super().try_run(command, stdin=stdin, timeout=timeout)


def eight_hosts(folder: Path, runs: int) -> list[Number]:
    """The same release on simulated hosts: what the toolkit itself makes of their number."""
    seconds: dict[int, list[float]] = {1: [], HOSTS: []}
    for run in range(runs):
        for count, times in seconds.items():
            site = Simulated(folder / f"{run}-{count}", tuple(f"app{n}" for n in range(1, count + 1)), Slow)
            with redirect_stderr(io.StringIO()):  # one line for each step of each host
                times.append(timed(lambda site=site: site.deploy("r3")))  # type: ignore[misc]  # a default binds it
    ratios = [many / one for many, one in zip(seconds[HOSTS], seconds[1], strict=True)]
    return [
        Number("deploy to one simulated host", "s", runs=seconds[1]),
        Number("deploy to eight simulated hosts", "s", runs=seconds[HOSTS]),
        Number("eight hosts against one", "x", 2, 1.3, ratios),
    ]


if __name__ == "__main__":
    main()
