"""Run the clients from the command line: exit code 0 is PASS, 1 FAIL, 3 UNKNOWN."""

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from .process import RUNNING
from .report import Report
from .run import running
from .scenario import KINDS, MINIMUMS, Scenario, rest


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=__doc__)
    parser.add_argument("--url", required=True, help="http://host:port of the server")
    parser.add_argument("--seconds", type=float, help="how long to run; default 30, or until the end of stdin")
    parser.add_argument("--until-eof", action="store_true", help="stop when stdin ends")
    parser.add_argument("--json", metavar="FILE", help="write the report there; - is stdout")
    parser.add_argument("--scenario", type=json.loads, default={}, help="all parameters as JSON")
    parser.add_argument("--kinds", type=lambda text: tuple(text.split(",")), help=",".join(KINDS))
    parser.add_argument("--path", action="append", dest="paths", help="read this path, wanting only 200")
    parser.add_argument("--rate", type=float, help="keep-alive GETs per second")
    parser.add_argument("--new-rate", type=float, help="new connections per second")
    parser.add_argument("--pause", type=float, help="seconds between two GETs of every other connection")
    parser.add_argument("--distance", type=float, help="seconds that requests of the far half of the clients travel")
    names = ", ".join(f"{name}={least}" for name, least in MINIMUMS.items())
    parser.add_argument("--minimum", action="append", default=[], metavar="NAME=N", help=f"defaults: {names}")
    return parser


def _scenario(options: argparse.Namespace) -> Scenario:
    values: dict[str, Any] = dict(options.scenario)
    for name in ("kinds", "paths", "rate", "new_rate", "pause", "distance"):
        if getattr(options, name) is not None:
            values[name] = getattr(options, name)
    least = {name: int(count) for name, count in (text.split("=") for text in options.minimum)}
    return Scenario(**(values | {"minimums": {**values.get("minimums", {}), **least}}))


def _stop_on(stopping: asyncio.Event, until_eof: bool) -> None:
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopping.set)
    if until_eof:
        loop.add_reader(0, _read_stdin, stopping)


def _read_stdin(stopping: asyncio.Event) -> None:
    if not os.read(0, 4096):
        asyncio.get_running_loop().remove_reader(0)
        stopping.set()


async def _run(options: argparse.Namespace) -> Report:
    stopping = asyncio.Event()
    _stop_on(stopping, options.until_eof)
    seconds = options.seconds
    async with running(options.url, _scenario(options)) as run:
        if options.json == "-":
            print(RUNNING, flush=True)
        if seconds is None and options.until_eof:
            await stopping.wait()
        else:
            await rest(stopping, 30.0 if seconds is None else seconds)
        return await run.stop()


def main() -> int:
    """Run the clients and show their report."""
    options = _parser().parse_args()
    report = asyncio.run(_run(options))
    print(report.table(), file=sys.stderr if options.json == "-" else sys.stdout)
    if options.json == "-":
        print(report.to_json())
    elif options.json:
        Path(options.json).write_text(report.to_json() + "\n", encoding="utf-8")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main())
