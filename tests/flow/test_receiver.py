"""The receiver of alerts: what reaches people, and what Alertmanager must try again."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deploy.core.poll import wait_until
from monitoring.programs import receiver
from tests.support.monitored import group

# Apprise imports a module that Python will lose
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")


class People(ThreadingHTTPServer):
    """An address that takes notifications, or does not."""

    def __init__(self, status: int = 200) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.status, self.taken, self.beats = status, list[dict[str, Any]](), list[str]()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server_port}"


class Taking(BaseHTTPRequestHandler):
    """Take one notification."""

    def do_POST(self) -> None:
        assert isinstance(self.server, People)
        self.server.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.server.status)
        self.end_headers()

    def do_GET(self) -> None:
        assert isinstance(self.server, People)
        self.server.beats.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[int]:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with server:
        yield server.server_port
        server.shutdown()


@pytest.fixture
def well() -> Iterator[People]:
    people = People()
    with serving(people):
        yield people


@pytest.fixture
def broken() -> Iterator[People]:
    people = People(500)
    with serving(people):
        yield people


def ask(*urls: str, path: str = "/alerts", method: str = "POST", life: str = "") -> tuple[int, str]:
    """Ask a receiver that knows these addresses; its collector does not answer."""

    class Answer(receiver.Answer):
        name, host, links = "shop-prod", "h1", receiver.Links("prod")
        heartbeat = receiver.Heartbeat(life)

    Answer.send_message = staticmethod(receiver.sender(list(urls), "shop-prod"))
    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Answer)) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path, json.dumps(group()))
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
    return answer.status, text


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver, "COLLECTOR", "http://127.0.0.1:1")
    monkeypatch.setattr(receiver.FAILED, "count", 0)
    monkeypatch.setattr(receiver.FAILED, "unusable", 0)
    monkeypatch.setattr(receiver.FAILED, "nobody", False)  # a sign of life is withheld while nobody takes messages


def test_an_alert_reaches_people_also_while_the_collector_is_away(well: People) -> None:
    assert ask(well.url)[0] == 200
    (taken,) = well.taken
    assert taken["title"] == "shop-prod: app does not run"
    assert "next: inv status --env=prod" in taken["message"]


def test_an_alert_that_nobody_took_is_tried_again(broken: People) -> None:
    assert ask(broken.url)[0] == 502
    assert "ops_notifications_failed_total 1\n" in ask(path="/metrics", method="GET")[1]


def test_one_address_that_fails_keeps_no_other_from_it_and_is_counted(well: People, broken: People) -> None:
    assert ask(well.url, broken.url)[0] == 200
    assert len(well.taken) == 1
    assert receiver.FAILED.count == 1


def test_an_address_that_is_none_is_shown_for_as_long_as_it_stands_there(well: People) -> None:
    assert ask(well.url, "nothing://x")[0] == 200
    assert "ops_notify_urls_unusable 1\n" in ask(well.url, "nothing://x", path="/metrics", method="GET")[1]
    assert "ops_notify_urls_unusable 0\n" in ask(well.url, path="/metrics", method="GET")[1]


def test_that_nobody_watches_is_sent_until_somebody_has_taken_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now, answers, sent = [0.0], iter([False, False, True, False, True]), list[str]()
    life = receiver.Life(lambda: now[0])
    monkeypatch.setattr(receiver, "LIFE", life)

    def send(title: str, text: str, kind: str) -> bool:
        sent.append(f"{kind}: {title}")
        return next(answers)

    def speak(times: int) -> None:
        for _ in range(times):
            receiver.speak(send, "shop-prod", "h1", receiver.Links("prod"))

    now[0] = receiver.PATIENCE + 1
    speak(5)
    life.come()
    speak(5)
    away, over = "nobody watches: Prometheus or Alertmanager is away", "RESOLVED: somebody watches again"
    assert sent == [f"failure: shop-prod: {away}"] * 3 + [f"success: shop-prod: {over}"] * 2


def test_a_sign_of_life_is_sent_to_nobody(well: People) -> None:
    receiver.LIFE.last_sign = 0
    assert ask(well.url, path="/watchdog")[0] == 200
    assert well.taken == []
    assert receiver.LIFE.last_sign > 0


def life_of(people: People) -> str:
    return f"http://127.0.0.1:{people.server_port}/alive"


def test_a_sign_of_life_leaves_the_host_while_watchdog_comes(well: People, broken: People) -> None:
    before = receiver.FAILED.heartbeats
    ask(well.url, path="/watchdog", life=life_of(well))
    assert wait_until(lambda: well.beats == ["/alive"], 30)
    ask(well.url, path="/watchdog", life=life_of(broken))
    assert wait_until(lambda: receiver.FAILED.heartbeats == before + 1, 30)
    counted = ask(path="/metrics", method="GET", life=life_of(well))[1]
    assert f"ops_heartbeats_failed_total {before + 1}\n" in counted
    assert "ops_heartbeat_timestamp_seconds 0\n" in counted, "this one has sent none yet"


def test_no_sign_of_life_while_nobody_takes_messages(well: People, broken: People) -> None:
    assert ask(broken.url)[0] == 502
    ask(broken.url, path="/watchdog", life=life_of(well))
    assert ask(well.url)[0] == 200
    ask(well.url, path="/watchdog", life=life_of(well))
    assert wait_until(lambda: bool(well.beats), 30)
    assert well.beats == ["/alive"], "the first was withheld"
