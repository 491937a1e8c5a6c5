"""The commands: short, quick, and true to the command contract."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest
from invoke.context import Context
from invoke.exceptions import Exit

from deploy import doctor
from deploy.config.environment import Environment
from deploy.config.settings import ROOT
from deploy.core import console, errors
from deploy.hosts.host import Host
from deploy.site import checks
from deploy.site.checks import Check, Result
from deploy.tasks.command import command

CODES = {
    "OpsError": 1,
    "CommandFailed": 1,
    "MachineFailed": 1,
    "Unreachable": 1,
    "Refused": 2,
    "GateClosed": 3,
    "Locked": 4,
    "Interrupted": 5,
}
LISTING = """
import sys
from invoke.main import program
own = set(sys.modules)  # invoke itself imports yaml
sys.argv = ["inv", "--list"]
try:
    program.run()
finally:
    heavy = {"pydantic", "docker", "rich", "yaml", "ruamel", "jinja2", "fabric", "dotenv", "apprise"}
    print("heavy:", sorted(heavy & (set(sys.modules) - own)), file=sys.stderr)
"""


CLOSED = "print(os.readlink('/proc/self/fd/0'))"


def kinds(root: type[errors.OpsError] = errors.OpsError) -> Iterator[type[errors.OpsError]]:
    yield root
    for child in root.__subclasses__():
        yield from kinds(child)


def made(kind: type[errors.OpsError]) -> errors.OpsError:
    if kind is errors.CommandFailed:
        return errors.CommandFailed("docker x", 7, "it said", "here")
    if issubclass(kind, errors.MachineFailed):
        return kind(OSError(28, "No space left on device", "/state"))
    return kind("what failed", where="here", serves="release r1", then="inv doctor")


def opened(body: Callable[..., None], *, json: bool = False) -> Exit:
    """Run a command that fails."""
    body.__doc__ = "Fail."
    with pytest.raises(Exit) as left:
        command()(body)(Context(), json=json)
    return left.value


def raising(error: BaseException) -> Callable[..., None]:
    def body(at: Environment, json: bool = False) -> None:
        raise error

    return body


@pytest.mark.parametrize(
    ("number", "then"), [(28, "inv disk"), (122, "inv disk"), (13, "inv doctor"), (30, "inv doctor")]
)
def test_what_the_machine_refuses_names_the_command_that_looks_there(number: int, then: str) -> None:
    assert then in errors.MachineFailed(OSError(number, "said so", "/state")).then


def test_every_cause_has_its_exit_code() -> None:
    assert {kind.__name__: kind.code for kind in kinds()} == CODES


@pytest.mark.parametrize("kind", [*kinds()], ids=lambda kind: kind.__name__)
def test_a_door_turns_an_error_into_message_code_and_document(
    kind: type[errors.OpsError], capsys: pytest.CaptureFixture[str]
) -> None:
    error = made(kind)
    assert opened(raising(error)).code == CODES[kind.__name__]
    plain = capsys.readouterr()
    assert plain.out == ""
    for words in (error.what, "where:", "serves:", "next:"):
        assert words in plain.err
    assert opened(raising(error), json=True).code == CODES[kind.__name__]
    document = json.loads(capsys.readouterr().out)
    assert (document["error"], document["code"]) == (error.what, CODES[kind.__name__])
    assert set(document) == {"error", "slug", "code", "where", "serves", "next"}


def test_ctrl_c_is_5_and_a_full_disk_is_1() -> None:
    assert opened(raising(KeyboardInterrupt())).code == 5
    assert opened(raising(OSError(28, "No space left on device"))).code == 1


def test_what_nobody_foresaw_is_an_error_like_any_other_and_its_traceback_is_shown(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def body(at: Environment, json: bool = False) -> None:
        doctor.clock(cast(Host, "no host"))

    assert opened(body, json=True).code == 1
    printed = capsys.readouterr()
    document = json.loads(printed.out)
    assert set(document) == {"error", "slug", "code", "where", "serves", "next"}
    for words in ("AttributeError: 'str' object has no attribute 'run'", f", at {doctor.__file__}:"):
        assert words in document["error"]
    assert "fault of the toolkit" in document["next"]
    assert 'doctor.clock(cast(Host, "no host"))' in printed.err


def test_a_standard_input_that_is_closed_is_one_that_is_empty() -> None:
    """Else the next file or connection that is opened would be taken for what a person types."""
    program = "import os\nfrom invoke import Context\nfrom deploy.tasks.command import command\n"
    program += f"def body(at): {CLOSED}\ncommand()(body)(Context())"
    line = ["sh", "-c", 'exec "$0" -c "$1" <&-', sys.executable, program]
    assert subprocess.run(line, cwd=ROOT, capture_output=True, text=True).stdout == "/dev/null\n"


def test_sigterm_is_as_ctrl_c() -> None:
    def body(c: Context, json: bool = False) -> None:
        signal.raise_signal(signal.SIGTERM)

    assert opened(body).code == 5


ADVICE = Check("git", "FAIL", "old", "inv doctor", advice=True)


@pytest.mark.parametrize("result", ["FAIL", "UNKNOWN"])
def test_checks_are_one_document_and_close_the_gate(result: Result, capsys: pytest.CaptureFixture[str]) -> None:
    found = [Check("git", "PASS"), ADVICE, Check("docker", result, "it is not there", "apt-get install docker.io")]

    def body(at: Environment, json: bool = False) -> None:
        checks.show(found, "prod", json=json)

    assert opened(body, json=True).code == 3
    *_, last = document = json.loads(capsys.readouterr().out)
    assert [check["result"] for check in document] == ["PASS", "FAIL", result]
    assert last == {
        "asked": "docker", "result": result, "advice": False, "evidence": "it is not there",
        "next": "apt-get install docker.io"
    }  # fmt: skip


def test_advice_closes_no_gate_and_is_called_so(capsys: pytest.CaptureFixture[str]) -> None:
    checks.show([Check("git", "PASS"), ADVICE], "prod", json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [["PASS", "git"], ["advice", "git", "old", "inv", "doctor", "--env=prod"]]
    assert Check("git", "UNKNOWN", advice=True).closes, "what could not be looked at is not green"


def test_markup_in_a_message_is_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.fail("[worker 2/3] RUN [bold]x[/]")
    assert "[worker 2/3] RUN [bold]x[/]" in capsys.readouterr().err


TASKS = sorted((ROOT / "deploy" / "tasks").glob("*.py"))


@pytest.mark.parametrize("path", TASKS, ids=[path.stem for path in TASKS])
def test_a_task_is_at_most_ten_lines(path: Path) -> None:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef) and any("command" in ast.unparse(mark) for mark in node.decorator_list):
            assert node.end_lineno
            assert node.end_lineno - node.lineno < 10, f"{path.name}: {node.name}"
            assert ast.get_docstring(node), node.name


def inv(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "invoke", *words]
    return subprocess.run(
        argv, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )


def test_list_is_quick_because_it_imports_nothing_heavy() -> None:
    ran = subprocess.run([sys.executable, "-c", LISTING], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    for name in (
        "build",
        "deploy",
        "doctor",
        "down",
        "history",
        "logs",
        "plan",
        "rollback",
        "status",
        "images.pin",
        "secrets.check",
    ):
        assert f"  {name} " in ran.stdout + " ", name
    assert ran.stderr.splitlines()[-1] == "heavy: []"


@pytest.mark.parametrize(
    "words", [("plan", "--env=nope"), ("history", "--env=nope"), ("deploy", "--nope")], ids=" ".join
)
def test_a_command_that_fails_prints_one_document_too(words: tuple[str, ...]) -> None:
    ran = inv(*words, "--json")
    assert (ran.returncode, json.loads(ran.stdout)["code"]) == (2, 2)
    assert "next:" in ran.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("deploy", "--to="), "--to is empty; is a variable not set?"),
        (("deploy", "--to", ""), "--to is empty; is a variable not set?"),
        (("hosts.pin", "", "--yes"), "a word is empty; is a variable not set?"),
        (("hosts.pin", ",", "--yes"), "`,` names nothing"),
        (("deploy", "--", "--to=r1"), "--to=r1 is read by nobody: only inv exec takes words behind --"),
        (("logs", "--", "backend"), "backend is read by nobody: only inv exec takes words behind --"),
    ],
    ids=repr,
)
def test_what_would_be_taken_for_all_or_for_this_checkout_is_refused(words: tuple[str, ...], message: str) -> None:
    ran = inv(*words)
    assert (ran.returncode, message in ran.stderr) == (2, True), ran.stderr


@pytest.mark.parametrize("words", [("--dry", "deploy", "--json"), ("-R", "down")], ids=" ".join)
def test_there_is_no_dry_run(words: tuple[str, ...]) -> None:
    ran = inv(*words, "--env=nope")
    assert (ran.returncode, "next:   inv plan" in ran.stderr) == (2, True), ran.stderr


def test_a_command_that_works_prints_one_document(tmp_path: Path) -> None:
    ran = inv("history", "--json", XDG_STATE_HOME=str(tmp_path))
    assert (ran.returncode, json.loads(ran.stdout)) == (0, [])


LINE = 'from deploy.core import console; console.document(["x" * {size}]); console.table(["a"], [["b"]])'


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_a_reader_who_has_seen_enough_is_an_end_like_any_other(size: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LINE.format(size=size)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert (process.wait(), process.stderr.read()) == (0, b"")


def test_where_nobody_can_be_asked_the_way_without_is_named(tmp_path: Path) -> None:
    argv = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-m", "invoke", "down", "--volumes"]
    ran = subprocess.run(
        argv, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    )
    assert (ran.returncode, "next:   add --yes" in ran.stderr) == (2, True), ran.stderr
