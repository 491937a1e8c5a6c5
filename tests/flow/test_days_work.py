"""Logs, exec and dev on a fake host: which containers are meant, what is refused, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from invoke.exceptions import Exit
from invoke.parser import Parser

from deploy import dev
from deploy.config.settings import ROOT
from deploy.core.errors import Interrupted, OpsError, Refused, Unreachable
from deploy.core.shell import Command
from deploy.hosts.local import LocalHost
from deploy.insight import inside, logs, services, status
from deploy.rollout import scale
from deploy.tasks import namespace
from deploy.tasks.command import split_names, words_after_dashes
from tests.support.fake import FakeHost
from tests.support.place import Place
from tests.support.samples import container

Printed = pytest.CaptureFixture[str]
AT = "2026-11-23T13:00:0{}.000000000Z {}"
SAID = {
    "shop-local-blue-backend-blue-1": [
        AT.format(1, "GET /1"),
        AT.format(4, "ERROR four"),
        AT.format(6, "ERR" + AT.format(6, "OR six")),
    ],
    "shop-local-green-backend-green-1": [AT.format(2, "never seen")],
    "shop-local-redis-1": [AT.format(3, "ready"), AT.format(5, "ERROR five \udcff")],
}


def say(host: FakeHost, monkeypatch: pytest.MonkeyPatch, output: dict[str, list[str]]) -> list[tuple[str, ...]]:
    """Have containers say something, and note what the engine was asked for."""
    asked = []

    def opened(command: Command) -> subprocess.Popen[bytes]:
        asked.append(command.argv)
        text = "".join(f"{line}\n" for line in output.get(command.argv[-1], [])).encode(errors="surrogateescape")
        return subprocess.Popen(
            [sys.executable, "-c", f"import sys; sys.stdout.buffer.write({text!r})"], stdout=subprocess.PIPE
        )

    monkeypatch.setattr(host, "open", opened)
    return asked


ALONE = "GET /1\nERROR four\nERROR six\n"
TOGETHER = "backend | GET /1\nredis   | ready\nbackend | ERROR four\nredis   | ERROR five \\xff\nbackend | ERROR six\n"


@pytest.mark.parametrize(
    ("names", "since", "grep", "shown", "asked"),
    [
        pytest.param([], "", "", TOGETHER, "--tail 100", id="several are one, in the order of time"),
        pytest.param(["backend"], "", "", ALONE, "--tail 100", id="one is shown as it is"),
        pytest.param(
            ["backend"],
            "2026-11-23T13:00:00+01:00",
            "",
            ALONE,
            "--since 2026-11-23T12:00:00.000000000Z",
            id="since a time",
        ),
        pytest.param(["backend"], "", "(?i)get", "GET /1\n", "", id="with a pattern all is searched"),
        pytest.param(["backend"], "", "no such thing", "", "", id="nothing"),
    ],
)
def test_logs(place: Place, monkeypatch: pytest.MonkeyPatch, capsys: Printed, names: list[str], since: str, grep: str,
              shown: str, asked: str) -> None:  # fmt: skip
    commands = say(place.host, monkeypatch, SAID)
    logs.show(place.at, names, logs.query(since, grep), follow=False)
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == (shown, "" if shown else "no lines\n")
    assert {" ".join(words[3:-1]) for words in commands} == {asked}


@pytest.mark.parametrize(
    ("since", "ago"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172_800)]
)
def test_how_long_ago(since: str, ago: int) -> None:
    assert datetime.now(UTC) - logs.moment(since) == pytest.approx(timedelta(seconds=ago), abs=timedelta(seconds=5))


@pytest.mark.parametrize("since", ["2026-11-23", "2026-11-23T00:00", "2026-11-23T00:00:00.000000000"])
def test_a_time_without_a_zone_is_of_this_machine(since: str) -> None:
    assert logs.moment(since) == datetime(2026, 11, 23).astimezone()


@pytest.mark.parametrize(("since", "grep", "words"), [
    ("yesterday", "", "--since=10m"), ("2026-06-31", "", "nor a time"), ("9999999999d", "", "2d"),
    ("10", "a(b", "at character 2"), ("1w", "*", "nothing to repeat"),
])  # fmt: skip
def test_what_since_and_grep_refuse(since: str, grep: str, words: str) -> None:
    with pytest.raises(Refused) as refused:
        logs.query(since, grep)
    assert words in str(refused.value)
    assert refused.value.slug == "wrong-usage"


def test_a_service_that_is_not_there_and_a_job_are_told_apart(place: Place) -> None:
    with pytest.raises(Refused, match="did you mean backend") as wrong:
        services.find(place.at, ["backen", "worker"])
    assert wrong.value.then == "name one of: backend, beat, edge, redis, worker"
    with pytest.raises(Refused, match=r"`site` is a job.*inv deploy prints its last lines"):
        services.find(place.at, ["site"])
    place.host.engine.observed.clear()
    with pytest.raises(Refused, match="nothing runs in shop-local") as empty:
        services.find(place.at)
    assert (wrong.value.slug, empty.value.slug) == ("service-unknown", "nothing-runs")


def test_of_two_colours_the_one_that_serves(place: Place) -> None:
    place.deploy("r3")
    assert {one.container.colour for one in services.find(place.at)[0].values()} == {"", "green"}
    assert services.find(place.at, ["backend"])[0]["backend"].container.release == "r3"


def test_every_replica_is_found_and_a_command_runs_in_one_that_works(place: Place) -> None:
    scale.scale(place.at, "backend=2")
    place.host.engine.change("shop-local-blue-backend-blue-1", state="exited")
    found = services.find(place.at, ["backend"])[0]
    assert list(found) == ["backend-2", "backend-1"]


def test_what_is_followed_goes_on_over_a_restart_and_a_switch(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    blue, green = (container("backend", colour, "r") for colour in ("blue", "green"))
    asked = say(
        place.host,
        monkeypatch,
        {blue.name: [AT.format(1, "old"), AT.format(5, "from blue")], green.name: [AT.format(6, "from green")]},
    )
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.05)
    before, after = (
        ({"backend": services.ServiceContainer(place.host, one)}, dict[str, OpsError]()) for one in (blue, green)
    )

    def look() -> tuple[dict[str, services.ServiceContainer], dict[str, OpsError]]:
        """Switch once blue was followed twice, however long that takes."""
        return before if sum(words[6] == blue.name for words in asked) < 2 else after

    seen = defaultdict[str, str](lambda: "2026-11-23T13:00:02.000000000Z")
    lines = logs.live(look, seen)
    assert [next(lines).text, next(lines).text] == ["from blue", "from green"]
    lines.close()  # type: ignore[attr-defined]  # a generator, promised as an iterator
    assert asked[0][3:5] == ("--follow", "--since")
    assert [words[5] for words in asked if words[6] == blue.name][:2] == [
        "2026-11-23T13:00:02.000000000Z",
        "2026-11-23T13:00:05.000000000Z",
    ]


def test_what_is_followed_goes_on_once_a_broken_connection_is_renewed(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    found = {"backend": services.ServiceContainer(place.host, container("backend", "blue", "r"))}
    says, state = [AT.format(1, "before"), AT.format(2, "after")], {"broken": False}

    class Broken(subprocess.Popen[bytes]):
        def __exit__(self, *_: Any) -> None:
            super().__exit__(*_)
            state["broken"] = True
            raise Unreachable("the connection to app1 broke")

    def opened(command: Command) -> subprocess.Popen[bytes]:
        if state["broken"] or not says:
            raise Unreachable("the connection to app1 broke")
        kind = Broken if len(says) == 2 else subprocess.Popen
        return kind(["echo", says.pop(0)], stdout=subprocess.PIPE)

    def renewed() -> bool:
        was, state["broken"] = state["broken"], False
        return was

    monkeypatch.setattr(place.host, "open", opened)
    monkeypatch.setattr(place.host, "renew", renewed, raising=False)
    monkeypatch.setattr(logs, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(services, "find", lambda *_: (found, {}))
    lines = logs.live(lambda: logs.find_again(place.at, []), defaultdict(lambda: AT.format(0, "").strip()))
    assert [next(lines).text, next(lines).text] == ["before", "after"]
    lines.close()  # type: ignore[attr-defined]  # a generator, promised as an iterator
    assert capsys.readouterr().err.count("the connection to localhost broke and is opened again") == 1


def test_more_than_a_connection_carries_is_not_followed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = say(place.host, monkeypatch, SAID)
    monkeypatch.setattr(place.host, "followable", 2, raising=False)
    with pytest.raises(Refused, match=r"follows 2 containers at most, localhost has 5") as raised:
        logs.show(place.at, [], logs.query("", ""), follow=True)
    assert "fewer services" in raised.value.then
    assert not asked


@pytest.mark.parametrize("remote", [False, True])
def test_ctrl_c_while_logs_are_first_read_is_an_end(
    place: Place, monkeypatch: pytest.MonkeyPatch, remote: bool
) -> None:
    monkeypatch.setattr(place.host, "open", lambda _: os.kill(os.getpid(), signal.SIGINT))
    at = place.at
    logs.show(at._replace(here=LocalHost()) if remote else at, ["backend"], logs.query("", ""), follow=False)


@pytest.fixture
def developing(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """`inv dev` up to where its logs are followed, which Ctrl-C ends."""
    for name in ("require_port", "build", "start"):
        monkeypatch.setattr(dev, name, lambda *_, **__: None)
    monkeypatch.setattr("deploy.dev.desired.variables", lambda *_: {})
    monkeypatch.setattr(logs, "show", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    return place


def test_ctrl_c_ends_dev_as_it_should(developing: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(developing.host, "run", lambda command: ran.append(command.argv))
    dev.run(developing.at, fresh=False)
    assert [argv[-2:] for argv in ran] == [("down", "--remove-orphans")]


def test_a_second_ctrl_c_says_that_something_may_still_run(developing: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(developing.host, "run", lambda _: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Interrupted, match="some services may still run") as raised:
        dev.run(developing.at, fresh=False)
    raised.value.env = "dev"
    assert "next:   inv down --env=dev" in str(raised.value)


def test_what_keeps_from_following_is_reported_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    looks = list(range(3))

    def look() -> tuple[dict[str, services.ServiceContainer], dict[str, OpsError]]:
        if not looks:
            raise KeyboardInterrupt
        if looks.pop():
            return {}, {"app1": Refused("app1 did not answer")}
        raise Refused("app1 did not answer")

    monkeypatch.setattr(logs, "POLL_SECONDS", 0.01)
    with pytest.raises(KeyboardInterrupt):
        next(logs.live(look, {}))
    assert capsys.readouterr().err.count("app1 did not answer") == 1


def test_status_names_a_container_that_ran_out_of_memory(place: Place, capsys: Printed) -> None:
    name = "shop-local-blue-worker-blue-1"
    place.host.engine.change(name, out_of_memory=True)
    status.show(place.at, json=False)
    assert f"! {name}: a process was killed at the memory limit; inv logs worker" in capsys.readouterr().err
    status.show(place.at, json=True)
    listed = json.loads(capsys.readouterr().out)["hosts"][0]["services"]
    assert [found["name"] for found in listed if found["out_of_memory"]] == ["worker"]


@pytest.mark.parametrize(
    ("typed", "given"),
    [
        ("logs", {"service": ""}),
        ("logs --follow", {"service": "", "follow": True}),
        ("logs --since 5m backend,worker --grep=x", {"service": "backend,worker", "since": "5m", "grep": "x"}),
        ("logs --service=edge,redis", {"service": "edge,redis"}),
        ("exec --env=prod postgres psql", {"service": "postgres", "command": "psql", "env": "prod"}),
        ("exec backend -- ls -l --env=x", {"service": "backend", "command": "", "env": "local"}),
        ("exec", {"service": "", "command": ""}),
        ("hosts.pin", {"host": ""}),
        ("hosts.pin app1,gateway --yes", {"host": "app1,gateway", "yes": True}),
    ],
)
def test_services_and_hosts_are_named_with_commas_or_left_out(typed: str, given: dict[str, Any]) -> None:
    assert given.items() <= Parser(contexts=namespace.to_contexts()).parse_argv(typed.split())[0].as_kwargs.items()


@pytest.mark.parametrize("typed", ["exec backend ls -l", "logs backend worker", "logs --since", "hosts.pin app1 app2"])
def test_words_too_many_are_wrong_usage(typed: str) -> None:
    with pytest.raises(Exit) as left:
        Parser(contexts=namespace.to_contexts()).parse_argv(typed.split())
    assert left.value.code == 2


@pytest.mark.parametrize("typed", ["logs --help", "exec -h", "hosts.pin --help", "status --help", "scale --help"])
def test_help_is_no_name(typed: str) -> None:
    ran = subprocess.run([sys.executable, "-m", "invoke", *typed.split()], cwd=ROOT, capture_output=True, text=True)
    assert (ran.returncode, f"inv[oke] [--core-opts] {typed.split()[0]} " in ran.stdout) == (0, True), ran.stderr


def test_an_option_that_a_command_does_not_have_is_no_name() -> None:
    assert split_names("backend,,worker") == ["backend", "worker"]
    with pytest.raises(Refused, match="--nope is no option"):
        split_names("--nope")


def test_the_words_of_a_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["inv", "exec", "backend", "--", "sh", "-c", "echo 'a  b'", "--"])
    assert inside.split("", words_after_dashes()) == ["sh", "-c", "echo 'a  b'", "--"]
    assert inside.split("psql -c 'select 1'", []) == ["psql", "-c", "select 1"]
    assert inside.split("sh -x", ["-c", "echo a"]) == ["sh", "-x", "-c", "echo a"]
    with pytest.raises(Refused, match="No closing quotation"):
        inside.split("echo 'a", [])


@pytest.mark.parametrize(
    ("service", "words", "slug", "message"),
    [
        ("redis", ["ls"], "container-not-running", "redis-1 is not running: exited"),
        ("backend", [], "wrong-usage", "no command"),
        ("nope", ["ls"], "service-unknown", "nope"),
    ],
)
def test_exec_names_what_is_missing(place: Place, service: str, words: list[str], slug: str, message: str) -> None:
    with pytest.raises(Refused, match=message) as refused:
        inside.run(place.at, service, words)
    assert refused.value.slug == slug


def test_exec_has_a_terminal_where_there_is_one() -> None:
    assert [" ".join(inside.command("x", ["ls"], terminal=seen).argv) for seen in (True, False)] == [
        "docker exec --interactive --tty x ls", "docker exec --interactive x ls"
    ]  # fmt: skip
