"""`inv logs` where a host has Loki, and where that does not answer: a server of its API, and a fake engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from deploy.hosts.local import LocalHost
from deploy.insight import logs
from deploy.monitoring import loki, run, stack
from deploy.monitoring.loki import Kept
from tests.flow.test_days_work import AT, say
from tests.support import monitored
from tests.support.place import Place
from tests.unit import test_loki

Printed = pytest.CaptureFixture[str]
BACKEND, REDIS = "shop-local-blue-backend-blue-1", "shop-local-redis-1"
FIRST = 1_795_438_800_000_000_000  # 2026-11-23T13:00:00Z, in nanoseconds
SECOND = 10**9


class Loki(ThreadingHTTPServer):
    """Answers as Loki does, by what it keeps of each container; or fails."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.kept: dict[str, list[tuple[int, str]]] = {}
        self.asked: list[dict[str, str]] = []
        self.status = 200


class Answering(BaseHTTPRequestHandler):
    """Answer one question."""

    def do_GET(self) -> None:
        assert isinstance(self.server, Loki)
        asked = {key: own[0] for key, own in parse_qs(urlsplit(self.path).query).items()}
        self.server.asked.append(asked)
        container = asked["query"].removeprefix('{container="').removesuffix('"}')
        rows = [(at, text) for at, text in self.server.kept.get(container, []) if loki.written(at) >= asked["start"]]
        values = [[str(at), f"{text}\n"] for at, text in rows[: int(asked["limit"])]]
        document = {"data": {"result": [{"stream": {"container": container}, "values": values}]}}
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Loki]:
    with Loki() as own:
        threading.Thread(target=own.serve_forever, args=(0.02,), daemon=True).start()
        yield own
        own.shutdown()


@pytest.fixture
def kept(place: Place, server: Loki, monkeypatch: pytest.MonkeyPatch) -> Loki:
    """A host on which `inv monitor.up` has started Loki."""
    edge = place.host.get

    def get(port: int, path: str, **more: Any) -> tuple[int, str]:
        if port == place.settings.monitor.loki_port:
            return LocalHost().get(server.server_port, path, **more)
        return edge(port, path, **more)

    monkeypatch.setattr(place.host, "get", get)
    place.host.write(place.settings.state_dir / loki.FILE, "")
    return server


def show(place: Place, *names: str, since: str = "2026-11-23T13:00:00Z") -> None:
    logs.show(place.at, [*names], logs.query(since, ""), follow=False)


def test_lines_of_a_container_that_is_gone_come_from_loki_and_the_newest_from_the_engine(
    place: Place, kept: Loki, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    """The engine has the container that took its place, and what Loki was not sent yet."""
    kept.kept[BACKEND] = [(FIRST + SECOND, "of the old one"), (FIRST + 4 * SECOND, "of the new one")]
    asked = say(place.host, monkeypatch, {BACKEND: [AT.format(4, "of the new one"), AT.format(6, "just now")]})
    show(place, "backend")
    assert capsys.readouterr() == ("of the old one\nof the new one\njust now\n", "")
    assert [words[3:5] for words in asked] == [("--since", AT.format(4, "").strip())]
    assert {one["start"] for one in kept.asked} == {"2026-11-23T13:00:00.000000000Z"}


def test_services_are_one_in_the_order_of_time_wherever_their_lines_come_from(
    place: Place, kept: Loki, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    kept.kept[BACKEND] = [(FIRST + SECOND, "one"), (FIRST + 3 * SECOND, "three")]
    say(place.host, monkeypatch, {REDIS: [AT.format(2, "two")], BACKEND: [AT.format(4, "four")]})
    show(place, "backend", "redis")
    assert capsys.readouterr().out == "backend | one\nredis   | two\nbackend | three\nbackend | four\n"


def test_a_loki_that_does_not_answer_is_named_once_and_the_engine_has_lines(
    place: Place, kept: Loki, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    kept.status = 503
    asked = say(place.host, monkeypatch, {BACKEND: [AT.format(1, "still here")]})
    show(place, "backend", "redis")
    printed = capsys.readouterr()
    assert printed.out == "backend | still here\n"
    words = "Loki of localhost does not answer: shown is what the engine keeps; inv monitor.up starts it"
    assert printed.err.count(words) == 1
    assert {words[3:5] for words in asked} == {("--since", "2026-11-23T13:00:00.000000000Z")}


def test_one_that_is_gone_is_as_one_that_does_not_answer(
    place: Place, kept: Loki, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    kept.shutdown()
    kept.server_close()
    say(place.host, monkeypatch, {BACKEND: [AT.format(1, "still here")]})
    show(place, "backend")
    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("Loki of localhost does not answer")) == ("still here\n", 1)


@pytest.mark.parametrize("since", ["", "1h"])
def test_a_host_without_loki_is_not_asked_nor_one_for_the_last_lines(
    place: Place, kept: Loki, monkeypatch: pytest.MonkeyPatch, capsys: Printed, since: str
) -> None:
    if since:
        place.host.remove(place.settings.state_dir / loki.FILE)
    say(place.host, monkeypatch, {BACKEND: [AT.format(1, "line")]})
    show(place, "backend", since=since)
    assert (capsys.readouterr(), kept.asked) == (("line\n", ""), [])


def test_many_lines_are_asked_for_by_pages_and_none_is_lost_between(
    place: Place, kept: Loki, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    kept.kept[BACKEND] = [(FIRST + number, f"line {number}") for number in range(2 * loki.PAGES[0] + 1)]
    say(place.host, monkeypatch, {})
    show(place, "backend")
    assert capsys.readouterr().out.splitlines() == [text for _, text in kept.kept[BACKEND]]
    assert len(kept.asked) == 3


def test_an_answer_that_is_too_long_is_asked_for_by_fewer_lines(
    place: Place, kept: Loki, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    """A host's answer ends after a megabyte."""
    kept.kept[BACKEND] = [(FIRST + number, f"{number} {'x' * 16_000}") for number in range(90)]
    say(place.host, monkeypatch, {})
    show(place, "backend")
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [str(number) for number in range(90)]


@pytest.mark.parametrize("pulled", [True, False])
def test_alloy_reads_where_the_engine_writes_and_without_it_nobody_asks_loki(
    place: Place, kept: Loki, monkeypatch: pytest.MonkeyPatch, pulled: bool
) -> None:
    """The stack ran with public images before, and is started with them again or without."""
    assert kept
    monkeypatch.setattr(place.host, "run", lambda command, **_: "/data/docker\n" if "info" in command.argv else "")
    own = replace(monitored.run(), host=place.host, settings=place.settings)
    run.start(own, stack.stack_of(own, ""), test_loki.made(pulled=pulled))
    folder = place.settings.state_dir
    assert ("/data/docker/containers:" in (place.host.read(folder / stack.FILE) or "")) is pulled
    assert ((place.host.read(folder / loki.FILE) or "") != "") is pulled
    assert bool(Kept(place.at, [place.host]).hosts) is pulled
