"""Notifications: what people are told, and that no service can hold up or fail a deploy."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from deploy import notify, secrets
from deploy.errors import CommandFailed, OpsError, Refused
from deploy.event import Event
from deploy.hosts.local import LocalHost
from deploy.settings import ROOT, Notify, Settings
from deploy.shell import Command, Result
from tests import samples

DONE = Event("deploy", "in service", "r2", "c2", before="r1", serves="release r2 (green)", who="ann@host", seconds=12.34)
FAILED = Event(
    "rollback", "failed", "r1", serves="release r2 (green)", error="blue did not become healthy:\npassword=hunter2", then="docker logs x"
)
TOKEN = "t0ken-of-the-team"
Printed = pytest.CaptureFixture[str]
Made = Callable[..., Settings]


class Receiver(HTTPServer):
    """A service that takes notifications."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.taken: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"json://{TOKEN}@127.0.0.1:{self.server_port}/"


class Taking(BaseHTTPRequestHandler):
    """Take one notification."""

    def do_POST(self) -> None:
        assert isinstance(self.server, Receiver)
        self.server.taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *words: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def hanging() -> Iterator[str]:
    """A service that takes connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield f"json://{TOKEN}@127.0.0.1:{server.getsockname()[1]}/?rto=60"


@pytest.fixture
def down() -> str:
    """A service that nothing listens for."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return f"json://{TOKEN}@127.0.0.1:{server.getsockname()[1]}/"


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Settings of a checkout whose secrets file holds these addresses."""
    for name in ("GITHUB_RUN_ID", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)

    def settings(*urls: str, **keys: Any) -> Settings:
        (tmp_path / ".env.local").write_text(f"{notify.KEY}='{' '.join(urls)}'\n" if urls else "")
        (tmp_path / ".env.local").chmod(0o600)
        return samples.settings(tmp_path, notify=Notify(**keys))

    return settings


class Deaf(LocalHost):
    """A host on which Apprise must not be started, or never ends."""

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        raise CommandFailed("python", 124, "no end", "here")


def test_people_are_told_what_they_want_to_know_most_urgent_first(made: Made, receiver: Receiver, capsys: Printed) -> None:
    notify.tell(made(receiver.url), LocalHost(), DONE)
    notify.tell(made(receiver.url), LocalHost(), FAILED)
    done, failed = receiver.taken
    assert (done["title"], done["type"]) == ("shop-local: deploy done, r2 serves", "success")
    assert done["message"].splitlines() == [
        "serves: release r2 (green)", "next: inv rollback --env=local goes back", "env: local", "release: r2", "commit: c2",
        "served before: r1", "by: ann@host", "took: 12.3 s",
    ]  # fmt: skip
    assert (failed["title"], failed["type"]) == ("shop-local: rollback FAILED; release r2 (green) serves", "failure")
    assert failed["message"].splitlines()[:3] == [
        "error: blue did not become healthy", "serves: release r2 (green)", "next: docker logs x"
    ]  # fmt: skip
    assert "hunter2" not in str(receiver.taken), "of an error only the first line leaves this machine"
    assert capsys.readouterr().err == ""


def test_a_service_that_is_down_is_a_warning_and_the_others_are_told(made: Made, receiver: Receiver, down: str, capsys: Printed) -> None:
    notify.tell(made(down, receiver.url, "nonsense://x"), LocalHost(), DONE)
    told = capsys.readouterr().err
    assert told.splitlines() == [
        "! not everybody was notified: address 3 of NOTIFY_URLS is none that Apprise knows; "
        "JSON did not take it (failure); inv notify.test tries again"
    ]
    assert len(receiver.taken) == 1
    assert TOKEN not in told


def test_a_service_that_hangs_takes_no_longer_than_it_may(made: Made, receiver: Receiver, hanging: str, capsys: Printed) -> None:
    started = time.monotonic()
    notify.tell(made(hanging, receiver.url, within=1), LocalHost(), DONE)
    assert time.monotonic() - started < 1 + notify.START
    assert "JSON did not take it (timeout)" in capsys.readouterr().err
    assert len(receiver.taken) == 1


def test_the_process_itself_ends_when_a_service_hangs(made: Made, hanging: str) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nfrom deploy import notify\nfrom tests.flow.test_notify import *\n"
        "notify.tell(samples.settings(Path(sys.argv[1]), notify=Notify(within=1)), LocalHost(), DONE)"
    )
    argv = [sys.executable, "-c", script, str(made(hanging).root)]
    ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (ran.returncode, "timeout" in ran.stderr) == (0, True), ran.stderr


def test_what_lies_where_inv_is_typed_is_not_run(made: Made, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "__init__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    notify.probe(made(receiver.url), LocalHost())
    assert len(receiver.taken) == 1


def test_an_apprise_that_never_ends_is_a_warning(made: Made, capsys: Printed) -> None:
    notify.tell(made("json://x"), Deaf(), DONE)
    assert "no answer within 15 s" in capsys.readouterr().err


def test_no_secrets_file_can_fail_a_deploy(made: Made, tmp_path: Path, capsys: Printed) -> None:
    settings = made("x")
    (tmp_path / ".env.local").write_bytes(b"NOTIFY_URLS=\xff\n")
    notify.tell(settings, LocalHost(), DONE)
    assert "not everybody was notified" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("on", "event", "told"),
    [
        (["failure"], DONE, False),
        (["failure"], FAILED, True),
        (["failure"], Event("deploy", "interrupted"), True),
        (["failure"], Event("deploy", "in service", warning="the hook after_deploy failed"), True),
        (["deploy"], FAILED, False),
        (["deploy"], DONE, True),
        (["rollback"], DONE, False),
        (["rollback"], Event("rollback", "in service"), True),
        ([], FAILED, False),
        (["deploy", "rollback", "failure"], Event("deploy", "unchanged"), False),
    ],
)
def test_only_what_the_settings_ask_for_is_told(made: Made, capsys: Printed, on: list[str], event: Event, told: bool) -> None:
    notify.tell(made("json://x", on=on), Deaf(), event)
    assert bool(capsys.readouterr().err) == told


def test_without_an_address_nothing_is_started(made: Made, capsys: Printed) -> None:
    notify.tell(made(), Deaf(), DONE)
    assert capsys.readouterr().err == ""


def test_addresses_are_in_no_command_line_no_environment_and_no_output(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    seen: list[Command] = []

    def refused(self: LocalHost, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        seen.append(command)
        assert TOKEN in (stdin or "")
        return Result(1, f"{TOKEN}", f"{TOKEN}")

    monkeypatch.setattr(LocalHost, "try_run", refused)
    notify.tell(made(f"json://{TOKEN}@x"), LocalHost(), DONE)
    printed = capsys.readouterr()
    assert "Apprise ended with 1" in printed.err
    assert TOKEN not in f"{seen}{[command.argv for command in seen]}{dict(seen[0].environment)}{printed}"


def test_the_addresses_are_no_secret_of_the_app(made: Made, tmp_path: Path) -> None:
    settings = made("json://x")
    example = tmp_path / ".env.example"
    example.write_text("A=<random a>\nNOTIFY_URLS=\n")
    for added, urls in (("A=value\n", ["json://x"]), ("A=value\nNOTIFY_URLS=\n", [])):
        settings.secrets_file.write_text(added + ("NOTIFY_URLS=json://x\n" if urls else ""))
        assert secrets.read(settings.secrets_file, example) == {"A": "value"}
        assert notify.addresses(settings) == urls


def test_the_test_says_what_came_of_it(made: Made, receiver: Receiver, down: str, capsys: Printed) -> None:
    notify.probe(made(receiver.url), LocalHost())
    assert receiver.taken[0]["title"] == "shop-local: a test"
    assert capsys.readouterr().err == "sent to 1 service(s)\n"
    with pytest.raises(OpsError, match=r"(?s)JSON did not take it.*inv notify\.test") as failed:
        notify.probe(made(down), LocalHost())
    assert (failed.value.code, TOKEN in str(failed.value)) == (1, False)
    with pytest.raises(Refused, match=r"(?s)NOTIFY_URLS is not set.*\.env\.local"):
        notify.probe(made(), LocalHost())


@pytest.mark.parametrize(
    ("event", "title"),
    [
        (
            Event("deploy", "in service", "r2", warning="the hook after_deploy failed"),
            "deploy done, r2 serves, but the hook after_deploy failed",
        ),
        (Event("deploy", "unchanged", "r2"), "nothing to do, r2 already serves"),
        (Event("deploy", "failed"), "deploy FAILED; nothing serves"),
        (Event("deploy", "interrupted", serves="release r1 (blue)"), "deploy INTERRUPTED; release r1 (blue) serves"),
    ],
    ids=lambda value: value.outcome if isinstance(value, Event) else "",
)
def test_the_title_says_it_all(made: Made, event: Event, title: str) -> None:
    assert notify.headline(made(), event) == f"shop-local: {title}"


def test_the_summary_of_ci_says_the_same_whether_or_not_people_are_told(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "page.md"))
    for name, value in (("SERVER_URL", "https://git.test"), ("REPOSITORY", "a/b"), ("RUN_ID", "7")):
        monkeypatch.setenv(f"GITHUB_{name}", value)
    notify.tell(made(on=[]), Deaf(), DONE)
    page = (tmp_path / "page.md").read_text()
    assert "### shop-local: deploy done, r2 serves" in page
    assert "- log: https://git.test/a/b/actions/runs/7" in page
