"""Measure commands on a server that is far away: sshd on this machine behind a proxy that delays, with its own engine.

Usage: python -m bench.far [--milliseconds 100] [--runs 3]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from bench.__main__ import report
from bench.measure import Number, timed
from tests.machines import Machine
from tests.support import remote, sshd
from tests.support.site import Site, free_port, make_tiny

CHUNK = 1 << 16


def main() -> None:
    """Run every measurement, at once and behind the delay, and print the report."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--milliseconds", type=float, default=100)
    arguments.add_argument("--runs", type=int, default=3)
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="ops-far-") as name, sshd.running(Path(name, "sshd")) as server:
        report(measured(Path(name, "site"), server, chosen.milliseconds / 1000, chosen.runs))


def measured(folder: Path, server: sshd.Sshd, seconds: float, runs: int) -> list[Number]:
    """Time the same commands with a round trip of so many seconds; a deploy also without, in the same run."""
    status, idle = Number("status", "s", 1.5, 1), Number("deploy with nothing to do", "s", 6, 4)
    back, beyond = Number("rollback", "s", 20, 15), Number("deploy, beyond the one without a delay", "s", 15)
    programs = Number("programs that a deploy starts on the server", "programs")
    site, far = make_tiny(folder), delayed(server.port, seconds)

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


def delayed(target: int, seconds: float) -> int:
    """Return a port of this machine's loopback that leads to another one, half of the seconds later each way."""
    port, loop, listening = free_port(), asyncio.new_event_loop(), threading.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(
            pass_on(reader, back, seconds / 2), pass_on(there, writer, seconds / 2), return_exceptions=True
        )

    async def run() -> None:
        server = await asyncio.start_server(serve, "127.0.0.1", port)
        listening.set()
        await server.serve_forever()

    work: Callable[[], Any] = lambda: loop.run_until_complete(run())  # noqa: E731  # it is handed on
    threading.Thread(target=work, daemon=True).start()
    listening.wait(10)
    return port


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Pass on what comes, each part as long after it came, however much is on its way."""
    loop, waiting = asyncio.get_running_loop(), asyncio.Queue[tuple[float, bytes]]()

    async def write() -> None:
        while True:
            due, data = await waiting.get()
            await asyncio.sleep(max(0, due - loop.time()))
            if not data:
                return writer.close()
            writer.write(data)
            await writer.drain()

    writing = asyncio.ensure_future(write())
    while data := await reader.read(CHUNK):
        waiting.put_nowait((loop.time() + delay, data))
    waiting.put_nowait((loop.time() + delay, b""))
    await writing


if __name__ == "__main__":
    main()
