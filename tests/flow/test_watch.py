"""What a watch does with what it sees, and with what it cannot look at."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from deploy.core.errors import CommandFailed, GateClosed, Interrupted, OpsError, Refused, Unreachable
from deploy.core.shell import Command, Result
from deploy.insight import history, status
from deploy.rollout import commands
from deploy.rollout.watch import PROBES_IN_A_ROW, Watcher
from tests.support.place import STEPS, Killed, Place
from tests.support.samples import log_line

TORN = Result(
    1, "", "error from daemon in stream: Error grabbing logs: invalid character '\\x00' looking for beginning of value"
)
OWN: dict[str, Any] = {"upstream": "", "upstream_seconds": ""}  # the edge answered by itself
Printed = pytest.CaptureFixture[str]


class Clock:
    """Time that passes where somebody waits, and nowhere else."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock(place: Place, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock for a place whose releases are watched as long as by default."""
    made = Clock()
    monkeypatch.setattr("deploy.core.poll.time", time)
    monkeypatch.setattr(time, "sleep", made.sleep)
    monkeypatch.setattr(time, "monotonic", lambda: made.now)
    watched_for(place, 10)
    return made


def watched_for(place: Place, seconds: float) -> None:
    rollout = place.settings.rollout.model_copy(update={"watch": seconds})
    place.settings = place.settings.model_copy(update={"rollout": rollout})
    place.at = place.at._replace(settings=place.settings)


def reads(place: Place, *readings: list[str]) -> None:
    """Let each reading of the edge's log find these lines."""
    number = count()
    place.host.log = [
        Result(0, "\n".join(f"2026-01-01T00:00:00.{next(number):09}Z {text}" for text in lines), "")
        for lines in readings
    ]


def while_watched(monkeypatch: pytest.MonkeyPatch, host: object, name: str, act: Callable[..., Any]) -> None:
    """Let something do otherwise while a release is watched."""
    verdict = Watcher.verdict

    def watching(watch: Watcher) -> str:
        with monkeypatch.context() as patch:
            patch.setattr(host, name, act)
            return verdict(watch)

    monkeypatch.setattr(Watcher, "verdict", watching)


def answering(
    place: Place, monkeypatch: pytest.MonkeyPatch, answer: Callable[[int, str], tuple[int, str] | None]
) -> None:
    """Let requests be answered so while a release is watched, and as always where that says nothing."""
    get = place.host.get
    while_watched(
        monkeypatch, place.host, "get", lambda port, path, **more: answer(port, path) or get(port, path, **more)
    )


def went_back(place: Place, words: str) -> OpsError:
    """Deploy r3, which must go back; return why."""
    with pytest.raises(OpsError, match=words) as raised:
        place.deploy("r3")
    assert raised.value.code == 1
    assert place.serving() == "r2"
    assert place.state.ledger()[-1].outcome == "failed"
    return raised.value


WELL = [log_line(upstream_seconds="0.010", **{"path": "/a b"})] * 600
BROKEN = [log_line(release="r3", status=500, **OWN)] * 100


@pytest.mark.parametrize("beside", [0, 9000], ids=["alone", "beside much that an app answers"])
def test_what_the_edge_itself_cannot_answer_goes_back(place: Place, beside: int) -> None:
    reads(place, WELL, BROKEN + [log_line(release="r3")] * beside)
    went_back(place, "100% of 100 requests that the edge answered itself were 5xx")


@pytest.mark.parametrize("page", ["maintenance", "no release"])
def test_the_toolkits_own_pages_do_not_count(place: Place, page: str) -> None:
    reads(place, WELL, [log_line(release="r3", status=503, page=page, **OWN)] * 100)
    assert place.deploy("r3").release == place.serving() == "r3"


def test_the_pages_of_the_minute_before_excuse_no_error(place: Place) -> None:
    reads(place, [log_line(release="none", status=503, page="no release", **OWN)] * 600, BROKEN)
    went_back(place, "100% of 100 requests that the edge answered itself were 5xx")


@pytest.mark.parametrize(
    "answer", [(200, ""), (404, ""), (0, "refused")], ids=["well", "somehow", "on another address"]
)
def test_a_burst_that_is_over_is_no_reason(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch, answer: tuple[int, str]
) -> None:
    """Nobody asks: the toolkit does, and is answered; or what comes back at once says that nobody listens there."""
    asked: list[str] = []

    def get(port: int, path: str) -> tuple[int, str] | None:
        if port == place.settings.edge.port:
            asked.append(path)
            return answer
        return None

    answering(place, monkeypatch, get)
    reads(place, WELL)
    assert place.deploy("r3").release == place.serving() == "r3"
    assert set(asked) == {"/a%20b"}


@pytest.mark.parametrize("lines", [WELL, WELL[:9]], ids=["a busy site", "a quiet one"])
def test_a_release_that_hangs_on_what_visitors_ask_for_goes_back(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch, lines: list[str]
) -> None:
    began = clock.now

    def get(port: int, path: str) -> tuple[int, str] | None:
        if port == place.settings.edge.port:
            clock.sleep(2)
            return 0, "timed out"
        return None

    answering(place, monkeypatch, get)
    reads(place, lines)
    went_back(place, f"GET /a%20b is not answered within 2 s; in the minute before {len(lines)} were, in 0.01 s")
    assert clock.now - began < 10


def test_one_that_answers_at_last_stays(place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    turns: list[str] = []

    def get(port: int, path: str) -> tuple[int, str] | None:
        if port != place.settings.edge.port:
            return None
        turns.append(path)
        if len(turns) % PROBES_IN_A_ROW:
            clock.sleep(2)
            return 0, "timed out"
        return 200, ""

    answering(place, monkeypatch, get)
    reads(place, WELL)
    assert place.deploy("r3").release == place.serving() == "r3"


def instruments() -> dict[str, Result | Exception]:
    return {
        "a torn line": TORN,
        "no driver that reads": Result(
            1, "", "Error response from daemon: configured logging driver does not support reading"
        ),
        "no end": CommandFailed("docker logs", 124, "no end after 20 s", "here"),
        "no program": Refused("`docker` is not installed"),
        "unforeseen": ValueError("surprise"),
    }


@pytest.mark.parametrize("trouble", instruments().values(), ids=instruments())
@pytest.mark.parametrize("after", [0, 1], ids=["from the beginning", "half way"])
def test_a_log_that_cannot_be_read_is_replaced_by_probes(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: Printed, trouble: Result | Exception, after: int
) -> None:
    try_run, readings = place.host.try_run, []

    def ran(command: Command, **more: Any) -> Result:
        if command.argv[:2] != ("docker", "logs"):
            return try_run(command, **more)
        readings.append(more)
        if len(readings) <= after:
            return Result(0, "", "")
        if isinstance(trouble, Exception):
            raise trouble
        return trouble

    monkeypatch.setattr(place.host, "try_run", ran)
    assert place.deploy("r3").release == place.serving() == "r3"
    assert (len(readings), {reading["timeout"] for reading in readings}) == (after + 1, {20}), "it is not asked again"
    output = capsys.readouterr().err
    assert output.count("localhost: the edge's log cannot be read, and probes alone judge the release: ") == 1
    reason = trouble if isinstance(trouble, Exception) else trouble.stderr
    assert str(getattr(reason, "output", "") or getattr(reason, "what", reason)) in output
    assert (
        "as root, at a quiet moment: truncate --size=0 /logs/edge-json.log && docker restart shop-local-edge-1;"
        in output
    )
    assert place.state.ledger()[-1].watch == "probed"
    watch_is_shown(place, capsys, "r3", "probed")


def watch_is_shown(place: Place, capsys: Printed, release: str, watch: str) -> None:
    """Expect status and history to say by what a release was judged, to people and programs."""
    status.show(place.at, json=True)
    entry = json.loads(capsys.readouterr().out)
    assert (entry["release"], entry["watch"], entry["hosts"][0]["watch"]) == (release, watch, watch)
    status.show(place.at, json=False)
    assert (f"watch: {watch}" in capsys.readouterr().err) is bool(watch)
    history.show(place.at, limit=1, json=True)
    assert json.loads(capsys.readouterr().out)[0]["watch"] == watch
    history.show(place.at, limit=1, json=False)
    assert ("in service, watch: " + watch in capsys.readouterr().out) is bool(watch)


def test_a_release_that_the_log_judged_says_nothing_of_it(place: Place, capsys: Printed) -> None:
    place.deploy("r3")
    capsys.readouterr()
    watch_is_shown(place, capsys, "r3", "")


def test_a_release_keeps_its_verdict_while_others_serve(place: Place, capsys: Printed) -> None:
    place.host.log = [TORN]
    place.deploy("r3")
    place.deploy("r4")
    assert [entry.watch for entry in place.state.ledger()[-2:]] == ["probed", ""]


def test_without_its_log_a_release_that_refuses_probes_goes_back(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(place, monkeypatch, lambda _, path: (502, "") if path.endswith("/backend/health") else None)
    place.host.log = [TORN]
    went_back(place, "3 probes in a row were not answered with 200")


def deaf(port: int, path: str) -> tuple[int, str]:
    """Let nothing be sent."""
    return 0, "refused"


def odd(port: int, path: str) -> tuple[int, str]:
    """Let nothing be sent, in a way that nobody foresaw."""
    raise ValueError("surprise")


@pytest.mark.parametrize("get", [deaf, odd])
def test_probes_that_cannot_be_sent_are_not_refused(
    place: Place,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Printed,
    get: Callable[[int, str], tuple[int, str]],
) -> None:
    answering(place, monkeypatch, get)
    reads(place, WELL, *[[log_line(release="r3")] * 30] * 30)
    assert place.deploy("r3").release == place.serving() == "r3"
    assert capsys.readouterr().err.count("probes cannot be sent: ") == 1
    assert place.state.ledger()[-1].watch == ""


@pytest.mark.parametrize("get", [deaf, odd])
@pytest.mark.parametrize("log", [TORN, Result(0, "", "")], ids=["no log", "no traffic"])
def test_where_nothing_can_be_judged_the_old_release_serves_on(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch, log: Result, get: Callable[[int, str], tuple[int, str]]
) -> None:
    answering(place, monkeypatch, get)
    place.host.log = [log] * 2
    output = went_back(
        place, "the verdict is UNKNOWN: 0 requests could be judged, and no probe was answered .*probes cannot be sent"
    )
    assert output.then.endswith("inv deploy")


@pytest.mark.parametrize("lines", [0, 40], ids=["no visitors", "visitors until then"])
def test_an_edge_that_dies_while_it_is_watched_is_no_success(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch, lines: int
) -> None:
    """Probes that were answered once say nothing of an edge that answers no more."""
    asked = count()
    answering(place, monkeypatch, lambda *_: (0, "refused") if next(asked) > 8 else None)
    reads(place, WELL, *[[log_line(release="r3")] * lines] * 4)
    went_back(place, "the verdict is UNKNOWN: .* no probe was answered at the end")


@pytest.mark.parametrize("ahead", ["2036-01-01T00:00:00.000000000Z", "2026-12-31T00:00:00.000000000Z"])
def test_a_line_from_the_future_blinds_no_watch(place: Place, ahead: str) -> None:
    """The clock was wrong once, and the engine's log keeps what it said then."""
    reads(place, WELL, BROKEN)
    place.host.log[0] = Result(0, f"{place.host.log[0].stdout}\n{ahead} {WELL[0]}", "")
    went_back(place, "100% of 100 requests that the edge answered itself were 5xx")


def test_lines_of_one_moment_all_count(place: Place) -> None:
    reads(place, WELL, [])
    place.host.log[1] = Result(0, "\n".join(f"2026-01-01T00:00:09.0Z {line}" for line in BROKEN), "")
    went_back(place, "100% of 100 requests that the edge answered itself were 5xx")


def test_where_nothing_can_be_judged_and_nothing_else_runs_the_first_release_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed, no_waiting: None
) -> None:
    place = Place(tmp_path)
    answering(place, monkeypatch, deaf)
    place.host.log = [TORN]
    with pytest.raises(GateClosed, match="release r1 is in service, and the verdict of its watch is UNKNOWN") as raised:
        place.deploy("r1")
    assert (raised.value.code, place.serving(), place.state.intention()) == (3, "r1", None)
    assert "r1" in raised.value.serves
    assert raised.value.then.startswith("inv status")
    assert ("beat", "r1") in place.running(), "the deploy went on to its end"
    capsys.readouterr()
    watch_is_shown(place, capsys, "r1", "unknown")
    assert place.deploy("r1").changed is False


def test_a_resumed_deploy_remembers_a_watch_that_was_done(place: Place, capsys: Printed) -> None:
    place.host.log = [TORN]
    place.host.kill_at(STEPS.index("Prune"), "begin", Killed)
    with pytest.raises(Killed):
        place.deploy("r3")
    assert commands.resume(place.at)
    assert place.state.ledger()[-1].watch == "probed"


def test_what_an_earlier_deploy_of_the_same_release_went_by_is_not_taken_up(place: Place) -> None:
    place.host.log = [TORN]
    place.deploy("r3")
    place.deploy("r4")
    watched_for(place, 0)
    place.deploy("r3")
    assert place.state.ledger()[-1].watch == ""


@pytest.mark.parametrize("trouble", [OSError(5, "Input/output error"), OpsError("it cannot be read")])
def test_a_journal_that_cannot_be_read_stops_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch, trouble: Exception
) -> None:
    def broken() -> None:
        raise trouble

    place.host.log = [TORN]
    monkeypatch.setattr(place.state.__class__, "journal", lambda *_: broken())
    monkeypatch.setattr(place.state.__class__, "intention", lambda _: None)
    assert place.deploy("r3").release == place.serving() == "r3"


@pytest.mark.parametrize("error", [Interrupted("the lock was lost"), Unreachable("the connection to app1 broke")])
@pytest.mark.parametrize("command", [("docker", "logs"), ("docker", "exec")], ids=["the log", "the tasks"])
def test_whoever_lost_the_lock_or_the_host_judges_nothing(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch, command: tuple[str, str], error: OpsError
) -> None:
    try_run = place.host.try_run

    def ran(wanted: Command, **more: Any) -> Result:
        if (
            wanted.argv[:2] == command
            and wanted.argv[-1] != "1"
            and (command[1] == "logs" or wanted.argv[-1] == "failed")
        ):
            raise error
        return try_run(wanted, **more)

    monkeypatch.setattr(place.host, "try_run", ran)
    with pytest.raises(Interrupted):
        place.deploy("r3")
    assert place.serving() == "r3"


def test_an_engine_that_stumbles_is_a_warning(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    """It lists no containers while a release is watched, so that neither the edge nor the workers are found."""

    def stumbles(_: str) -> None:
        raise OpsError("the Docker engine broke off: eof")

    answering(place, monkeypatch, lambda *_: (200, ""))
    while_watched(monkeypatch, place.host.engine, "containers", stumbles)
    assert place.deploy("r3").release == place.serving() == "r3"
    output = capsys.readouterr().err
    assert output.count("containers cannot be listed: the Docker engine broke off: eof; inv doctor") == 1
    assert output.count("the edge's log cannot be read") == 1
    assert place.state.ledger()[-1].watch == "probed"


def test_workers_that_cannot_say_how_many_tasks_failed_are_a_warning(
    place: Place, clock: Clock, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    try_run = place.host.try_run

    def ran(command: Command, **more: Any) -> Result:
        return Result(0, "hunter2hunter2", "") if command.argv[-1] == "failed" else try_run(command, **more)

    monkeypatch.setattr(place.host, "try_run", ran)
    assert place.deploy("r3").release == place.serving() == "r3"
    output = capsys.readouterr().err
    assert output.count("worker cannot say how many tasks failed; why: docker exec shop-local-") == 1
    assert "hunter2" not in output


def test_of_several_hosts_history_says_the_worst(place: Place) -> None:
    entry = place.state.ledger()[-1]
    ledgers = {
        name: [entry.model_copy(update={"watch": watch})]
        for name, watch in (("a", ""), ("b", "unknown"), ("c", "probed"))
    }
    [(line, hosts)] = history.merge_ledgers(ledgers)
    assert (line.watch, hosts) == ("unknown", ["a", "b", "c"])
