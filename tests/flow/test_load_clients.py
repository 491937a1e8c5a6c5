"""Each fault that a deploy can cause is put into a small server, and the clients must see it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from tests import load
from tests.load.faulty_app import App, serving

QUICK = {"connections": 4, "rate": 800.0, "pause": 0.002, "new_rate": 80.0, "post_rate": 100.0}
QUICK |= {
    "slow_clients": 2,
    "slow_seconds": 0.05,
    "uploads": 1,
    "upload_bytes": 200_000,
    "patience": 0.3,
    "distance": 0.0,
}
QUICK |= {
    "upload_seconds": 0.05,
    "sockets": 2,
    "ping_seconds": 0.05,
    "pong_seconds": 0.2,
    "warm_seconds": 0.3,
}
LEAST = {"get": 20, "post": 5, "upload": 1, "ws": 2}


def scenario(*kinds: str, **values: object) -> load.Scenario:
    """Choose the quick scenario for some kinds."""
    return load.Scenario(**{**QUICK, "kinds": kinds or load.KINDS, "minimums": LEAST, **values})  # type: ignore[arg-type]


def visit(
    app: App,
    chosen: load.Scenario,
    seconds: float = 0.1,
    deploy: Callable[[], Awaitable[None]] | None = None,
) -> load.Report:
    """Run the clients against the app, with a deploy in the middle if there is one."""

    async def whole() -> load.Report:
        async with serving(app) as url, load.running(url, chosen) as run:
            await asyncio.sleep(seconds)
            if deploy:
                await deploy()
                await asyncio.sleep(seconds)
            return await run.stop()

    return asyncio.run(whole())


def test_a_clean_run_of_all_kinds_is_pass() -> None:
    app = App()
    report = visit(app, scenario(), 0.4)
    assert (report.verdict, report.exit_code, report.losses) == (load.PASS, 0, []), report.table()
    assert all(kind.requests == kind.ok > 0 for kind in report.kinds.values())
    assert report.sockets == 2
    assert app.uploads > 0
    assert (app.books, report.left_behind) == (set(), 0)


def test_a_run_that_saw_too_little_is_unknown() -> None:
    report = visit(App(), scenario(minimums={}), 0.1)
    assert (report.verdict, report.exit_code, report.lost) == (load.UNKNOWN, 3, 0)
    assert len([reason for reason in report.reasons if reason.startswith("only")]) == 4


def test_a_run_without_any_asset_is_unknown() -> None:
    report = visit(App("empty page"), scenario("get", minimums={"get": 20, "asset": 9}))
    assert (report.verdict, report.reasons) == (load.UNKNOWN, ["only 1 of 9 asset"])


GETS = ["reset", "truncated", "eof", "502", "stall", "extra"]
FAULTS = [
    *(("get", "GET /api/health", fault, 4) for fault in GETS),
    *(("new", "GET /api/health", fault, 1) for fault in ("reset", "eof", "502")),
    *(("get", "GET /assets", fault, 1) for fault in ("truncated", "no length")),
    ("get", "GET / ", "wrong body", 3),
    ("get", "GET /api/health", "not json", 3),
    ("get", "GET /api/version", "not json", 3),
    ("get", "GET /api/version", "wrong body", 3),
    *(("post", "POST /api/notes", fault, 3) for fault in ("forget", "double", "changed", "conflict", "502")),
    *(("post", "POST /api/notes", fault, 3) for fault in ("eof", "reset")),
    *(("slow", "GET /api/debug", fault, 1) for fault in ("502", "eof", "wrong body")),
    *(("upload", "POST /api/books", fault, 1) for fault in ("502", "eof", "wrong body")),
    *(("ws", "GET /api/events", fault, 2) for fault in ("1006", "1011", "1011 idle", "refused")),
]


@pytest.mark.parametrize(("kind", "path", "fault", "turn"), FAULTS)
def test_one_fault_is_one_lost_request(kind: str, path: str, fault: str, turn: int) -> None:
    report = visit(App(fault, path, turn), scenario(kind), 0.06)
    assert (report.verdict, report.exit_code, report.lost) == (load.FAIL, 1, 1), report.table()
    assert [(loss.kind, path.split()[1] in loss.path) for loss in report.losses] == [(kind, True)]


def test_an_unannounced_close_of_an_idle_connection_is_reported_but_not_lost() -> None:
    # The eighth request ends the burst of the only connection, which is idle for 80 ms then.
    report = visit(App("idle close", "GET /", 8), scenario("get", connections=1, rate=100.0), 0.3)
    assert (report.lost, report.kinds["get"].reopened) == (0, 1), report.table()


def test_a_close_that_meets_a_request_on_its_way_is_lost() -> None:
    near = visit(App("late close", "GET /", 8), scenario("get", connections=1, rate=100.0), 0.3)
    far = visit(App("late close", "GET /", 1), scenario("get", connections=1, distance=0.03))
    assert (near.lost, near.kinds["get"].reopened) == (0, 1), near.table()
    assert (far.lost, far.kinds["get"].reopened) == (1, 0), far.table()
    assert far.losses[0].after_ms >= 30


def test_an_announced_close_is_nothing_special() -> None:
    report = visit(App("announced close", "GET /api/health", 12), scenario("get"))
    assert (report.lost, report.kinds["get"].reopened) == (0, 0), report.table()


def test_a_failed_note_is_searched_for_afterwards() -> None:
    report = visit(App("eof", "POST /api/notes", 3), scenario("post"))
    assert (report.lost, report.failed_but_stored) == (1, 1)


@pytest.mark.parametrize(("keeps", "verdict"), [(True, load.PASS), (False, load.FAIL)])
def test_assets_of_an_older_release_must_stay(keeps: bool, verdict: str) -> None:
    app = App()

    async def switch() -> None:
        app.release, app.fault = "r2", "" if keeps else "asset gone"

    report = visit(app, scenario("get"), deploy=switch)
    assert report.verdict == verdict, report.table()
    assert list(report.releases) == ["r1", "r2"]
    assert {loss.path for loss in report.losses} == (set() if keeps else {"/assets/r1.js"})


def test_an_empty_asset_is_lost() -> None:
    assert visit(App("empty asset"), scenario("get")).verdict == load.FAIL


def test_a_websocket_closed_for_a_restart_is_opened_again() -> None:
    report = visit(App("1012", "GET /api/events", 1), scenario("ws"))
    ws = report.kinds["ws"]
    assert (report.verdict, ws.lost, ws.interrupted, ws.reopened) == (load.PASS, 0, 1, 1), report.table()


def test_a_websocket_without_answers_is_lost() -> None:
    assert visit(App("silent"), scenario("ws"), 0.1).verdict == load.FAIL


def test_a_server_that_is_gone_loses_every_kind() -> None:
    async def whole() -> load.Report:
        async with serving(App()) as url:
            pass
        run = load.Run(url, scenario(patience=0.3))
        task = asyncio.create_task(run.start())
        await asyncio.sleep(0.3)
        task.cancel()
        return await run.stop()

    report = asyncio.run(whole())
    assert report.verdict == load.FAIL
    assert all(kind.lost == kind.requests > 0 for kind in report.kinds.values()), report.table()
    assert any("notes before the run" in reason for reason in report.reasons)


def test_chosen_paths_need_only_a_whole_answer() -> None:
    report = visit(App("wrong body", "GET /", 1), scenario("get", "new", paths=("/",)))
    assert (report.verdict, report.assets) == (load.PASS, 0), report.table()


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown"):
        load.Scenario(kinds=("gte",))


@contextmanager
def threaded(app: App) -> Iterator[str]:
    """Serve the app from a thread, for clients in a process of their own."""
    urls: list[str] = []
    started, ended = Event(), Event()

    async def whole() -> None:
        async with serving(app) as url:
            urls.append(url)
            started.set()
            await asyncio.to_thread(ended.wait)

    thread = Thread(target=asyncio.run, args=(whole(),))
    thread.start()
    started.wait()
    try:
        yield urls[0]
    finally:
        ended.set()
        thread.join()


def test_a_process_of_its_own_reports_what_it_saw() -> None:
    app = App()
    with threaded(app) as url:
        with load.during(url, scenario()) as clients:
            app.release = "r2"
            Event().wait(1)
            clean = clients.report()
        with load.during(url, scenario("get", "ws")) as clients:
            app.release, app.fault = "r3", "asset gone"
            Event().wait(1)
            broken = clients.report()
    assert (clean.verdict, "r2" in clean.releases) == (load.PASS, True), clean.table()
    assert (broken.verdict, broken.losses[0].path) == (load.FAIL, "/assets/r2.js"), broken.table()
