"""Run all chosen kinds of clients at once, and stop them without cutting a request."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from time import process_time

from . import clients, posts, sockets, uploads
from .ledger import Around, Ledger
from .report import Report, report_on
from .scenario import Scenario, Target


class Run:
    """Hold one run of the clients, from its start to its report."""

    def __init__(self, url: str, scenario: Scenario) -> None:
        self._around = Around(Target.parse(url, scenario.name), scenario, Ledger(scenario.kinds), asyncio.Event())
        self._notes = posts.Notes(self._around)
        self._books: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._cpu_before = process_time()
        self._report: Report | None = None

    async def start(self) -> None:
        """Start all clients and wait until each quick kind had an answer."""
        if "post" in self._around.scenario.kinds:
            await self._doubting("the notes before the run could not be read", self._notes.remember())
        self._tasks = [asyncio.create_task(client) for client in self._clients()]
        for _ in range(int(self._around.scenario.warm_seconds / 0.02)):
            if self._warm():
                return
            await asyncio.sleep(0.02)

    async def stop(self) -> Report:
        """Let the requests in flight finish, check what was stored, and report."""
        if self._report is None:
            self._around.stopping.set()
            await self._finish()
            if "post" in self._around.scenario.kinds:
                await self._doubting("the stored notes could not be checked", self._notes.verify())
            await uploads.remove(self._around, self._books)
            self._report = report_on(self._around.ledger, self._around.scenario, self._cpu_before)
        return self._report

    def _clients(self) -> Iterator[Coroutine[None, None, None]]:
        around, scenario = self._around, self._around.scenario
        for kind in scenario.kinds:
            if kind == "get":
                yield from (clients.keep_alive(around, number) for number in range(scenario.connections))
            elif kind == "new":
                yield clients.new_connections(around)
            elif kind == "post":
                yield from (self._notes.write(number) for number in range(posts.CLIENTS))
            elif kind == "slow":
                yield from (clients.slow_responses(around) for _ in range(scenario.slow_clients))
            elif kind == "upload":
                yield from (uploads.slow_uploads(around, self._books) for _ in range(scenario.uploads))
            else:
                yield from (sockets.Socket(around).run() for _ in range(scenario.sockets))

    def _warm(self) -> bool:
        tallies, scenario = self._around.ledger.tallies, self._around.scenario
        needed = {"get": scenario.connections, "new": 1, "post": posts.CLIENTS, "ws": scenario.sockets}
        return all(tallies[kind].ok >= needed[kind] for kind in tallies if kind in needed)

    async def _finish(self) -> None:
        _, busy = await asyncio.wait(self._tasks, timeout=self._around.scenario.grace)
        for task in busy:
            task.cancel()
            self._around.ledger.errors.append("a client was still busy long after the stop")
        for ended in await asyncio.gather(*self._tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                self._around.ledger.errors.append(f"a client broke: {type(ended).__name__}: {ended}")

    async def _doubting(self, doubt: str, check: Coroutine[None, None, None]) -> None:
        try:
            await check
        except Exception as error:
            self._around.ledger.errors.append(f"{doubt}: {type(error).__name__}: {error}")


@asynccontextmanager
async def running(url: str, scenario: Scenario | None = None) -> AsyncIterator[Run]:
    """Run the clients around a block of asynchronous code."""
    run = Run(url, scenario or Scenario())
    await run.start()
    try:
        yield run
    finally:
        await run.stop()
