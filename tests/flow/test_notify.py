"""Notifications: what people are told, and that no service can hold up or fail a deploy."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deploy.config import secrets
from deploy.config.sections import Notify
from deploy.config.settings import ROOT, Settings
from deploy.core.errors import CommandFailed, OpsError, Refused
from deploy.core.shell import Command, Result
from deploy.hosts.local import LocalHost
from deploy.site import notify
from deploy.site.event import Event
from tests.support import samples
from tests.support.notified import Receiver, receiving

DONE = Event(
    "deploy", "in service", "r2", "c2", before="r1", serves="release r2 (green)", who="ann@host", seconds=12.34
)
FAILED = Event(
    "rollback",
    "failed",
    "r1",
    serves="release r2 (green)",
    error="blue did not become healthy:\npassword=hunter2",
    then="docker logs x",
)
HOOK_FAILED = Event("deploy", "in service", "r2", warning="the hook after_deploy failed")
ALL = ["deploy", "rollback", "failure"]
TOKEN = "t0ken-of-the-team"
Printed = pytest.CaptureFixture[str]
Made = Callable[..., Settings]


def address(port: int) -> str:
    return f"json://{TOKEN}@127.0.0.1:{port}/?rto=60"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as server:
        yield server


@pytest.fixture
def hanging() -> Iterator[str]:
    """A service that takes connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield address(server.getsockname()[1])


@pytest.fixture
def down() -> str:
    """A service that nothing listens for."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return address(server.getsockname()[1])


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


class Instead(LocalHost):
    """A host on which Apprise never ends, or ends as is said; it notes what it was asked."""

    def __init__(self, result: Result | None = None) -> None:
        self.result, self.asked = result, list[tuple[Command, str]]()

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        self.asked.append((command, stdin or ""))
        if self.result:
            return self.result
        raise CommandFailed("python", 124, "no end", "here")


def test_people_are_notified_of_what_is_most_urgent_first(made: Made, receiver: Receiver, capsys: Printed) -> None:
    for event in (DONE, FAILED):
        notify.send(made(address(receiver.server_port)), LocalHost(), event)
    done, failed = receiver.taken
    assert (done["title"], done["type"]) == ("shop-local: deploy done, r2 serves", "success")
    assert done["message"].splitlines() == [
        "serves: release r2 (green)", "next: inv rollback --env=local goes back", "env: local", "release: r2",
        "commit: c2", "served before: r1", "by: ann@host", "took: 12.3 s",
    ]  # fmt: skip
    assert (failed["title"], failed["type"]) == ("shop-local: rollback FAILED; release r2 (green) serves", "failure")
    assert failed["message"].splitlines()[:3] == [
        "error: blue did not become healthy", "serves: release r2 (green)", "next: docker logs x"
    ]  # fmt: skip
    assert "hunter2" not in str(receiver.taken), "of an error only the first line leaves this machine"
    assert capsys.readouterr().err == ""


def test_a_service_that_is_down_is_a_warning_and_the_others_are_reported(
    made: Made, receiver: Receiver, down: str, capsys: Printed
) -> None:
    notify.send(made(down, address(receiver.server_port), "nonsense://x"), LocalHost(), DONE)
    assert capsys.readouterr().err == (
        "! not everybody was notified: address 3 of NOTIFY_URLS is none that Apprise knows; "
        "JSON did not take it (failure); inv notify.test tries again\n"
    )
    assert len(receiver.taken) == 1


def test_a_service_that_hangs_takes_no_longer_than_it_may(made: Made, receiver: Receiver, hanging: str) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom deploy.site import notify\nfrom tests.flow.test_notify import *\n"
        "began = time.monotonic()\nnotify.send(samples.settings(Path(sys.argv[1]), notify=Notify(within=1)), LocalHost(), DONE)\n"
        "print(time.monotonic() - began)"
    )
    argv = [sys.executable, "-c", script, str(made(hanging, address(receiver.server_port)).root)]
    ran = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert "JSON did not take it (timeout)" in ran.stderr
    assert float(ran.stdout) < 1 + notify.START
    assert len(receiver.taken) == 1


def test_no_apprise_and_no_secrets_file_can_fail_a_deploy(made: Made, capsys: Printed) -> None:
    settings = made("json://x")
    notify.send(settings, Instead(), DONE)
    assert "no answer within 15 s" in capsys.readouterr().err
    settings.secrets_file.write_bytes(b"NOTIFY_URLS=\xff\n")
    notify.send(settings, LocalHost(), DONE)
    assert "not everybody was notified" in capsys.readouterr().err


def test_what_lies_where_inv_is_typed_is_not_run(
    made: Made, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "__init__.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    notify.probe(made(address(receiver.server_port)), LocalHost())
    assert len(receiver.taken) == 1


@pytest.mark.parametrize(
    ("on", "event", "expected"),
    [
        (["failure"], DONE, False),
        (["failure"], FAILED, True),
        (["failure"], Event("deploy", "interrupted"), True),
        (["failure"], HOOK_FAILED, True),
        (["deploy"], FAILED, False),
        (["deploy"], DONE, True),
        (["rollback"], DONE, False),
        (["rollback"], Event("rollback", "in service"), True),
        ([], FAILED, False),
        (ALL, Event("deploy", "unchanged"), False),
    ],
)
def test_only_what_the_settings_ask_for_is_reported(made: Made, on: list[str], event: Event, expected: bool) -> None:
    for urls in (["json://x"], []):
        host = Instead(Result(0, "[]", ""))
        notify.send(made(*urls, on=on), host, event)
        assert len(host.asked) == (expected and bool(urls))


def test_addresses_are_in_no_command_line_no_environment_and_no_output(made: Made, capsys: Printed) -> None:
    host = Instead(Result(1, TOKEN, TOKEN))
    notify.send(made(f"json://{TOKEN}@x"), host, DONE)
    [(command, stdin)] = host.asked
    printed = capsys.readouterr()
    assert TOKEN in stdin
    assert "Apprise ended with 1" in printed.err
    assert TOKEN not in f"{command}{command.argv}{dict(command.environment)}{printed}"


@pytest.mark.parametrize(("line", "urls"), [("NOTIFY_URLS=json://x\n", ["json://x"]), ("NOTIFY_URLS=\n", []), ("", [])])
def test_the_addresses_are_no_secret_of_the_app(made: Made, tmp_path: Path, line: str, urls: list[str]) -> None:
    settings, example = made(), tmp_path / ".env.example"
    example.write_text("A=<random a>\nNOTIFY_URLS=\n")
    settings.secrets_file.write_text(f"A=value\n{line}")
    assert secrets.read(settings) == {"A": "value"}
    assert notify.addresses(settings) == urls


def test_the_test_says_what_came_of_it(made: Made, receiver: Receiver, down: str, capsys: Printed) -> None:
    notify.probe(made(address(receiver.server_port)), LocalHost())
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
        (HOOK_FAILED, "deploy done, r2 serves, but the hook after_deploy failed"),
        (Event("deploy", "unchanged", "r2"), "nothing to do, r2 already serves"),
        (Event("deploy", "failed"), "deploy FAILED; nothing serves"),
        (Event("deploy", "interrupted", serves="release r1 (blue)"), "deploy INTERRUPTED; release r1 (blue) serves"),
    ],
    ids=lambda value: value.outcome if isinstance(value, Event) else "",
)
def test_the_title_says_it_all(made: Made, event: Event, title: str) -> None:
    assert notify.headline(made(), event) == f"shop-local: {title}"


def test_the_summary_of_ci_says_the_same_although_nobody_is_notified(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    for name, value in (
        ("STEP_SUMMARY", page),
        ("SERVER_URL", "https://git.test"),
        ("REPOSITORY", "a/b"),
        ("RUN_ID", "7"),
    ):
        monkeypatch.setenv(f"GITHUB_{name}", str(value))
    notify.send(made(on=[]), Instead(), DONE)
    assert "### shop-local: deploy done, r2 serves" in page.read_text()
    assert "- log: https://git.test/a/b/actions/runs/7" in page.read_text()
