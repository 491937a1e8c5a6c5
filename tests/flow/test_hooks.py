"""Hooks: what they are told, what their end means, and that none outlives its time."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy.config.loader import from_variables
from deploy.config.sections import Hooks
from deploy.config.settings import ROOT, Settings
from deploy.core.errors import GateClosed
from deploy.core.poll import wait_until
from deploy.site import hooks
from deploy.site.event import Event
from tests.support import samples

EVENT = Event("deploy", "begins", release="r2", commit="c2", before="r1")
Printed = pytest.CaptureFixture[str]
Made = Callable[..., Settings]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Settings with hooks, in a checkout of their own."""

    def settings(within: float = 20, **lines: str) -> Settings:
        return samples.settings(tmp_path, hooks=Hooks(within=within, **lines))

    return settings


def running(path: Path) -> list[int]:
    """Of the processes that a hook wrote down, those that run."""
    return [pid for pid in map(int, path.read_text().split()) if not ended(pid)]


def ended(pid: int) -> bool:
    """Tell whether a process is gone, or dead and not yet buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_hook_runs_in_the_checkout_and_is_told_of_the_release_and_of_no_secret(made: Made, tmp_path: Path) -> None:
    (tmp_path / ".env.local").write_text("TOKEN=hunter2\n")
    settings = made(on_failure='pwd > where; python3 -c "import os, json; print(json.dumps(dict(os.environ)))" > told')
    assert (
        hooks.follow(settings, "on_failure", Event("rollback", "failed", "r2", "c2", before="r1", error="a\nb\0")) == ""
    )
    expected = json.loads((tmp_path / "told").read_text())
    own = {name: value for name, value in expected.items() if name.startswith("HOOK_")}
    assert own == {
        "HOOK_APP": "shop", "HOOK_ENV": "local", "HOOK_COMMAND": "rollback", "HOOK_RELEASE": "r2", "HOOK_COMMIT": "c2",
        "HOOK_SERVED": "r1", "HOOK_OUTCOME": "failed", "HOOK_ERROR": "a\nb ",
    }  # fmt: skip
    assert from_variables(own) == {}, "a hook may call inv"
    assert "hunter2" not in str(expected)
    assert (tmp_path / "where").read_text() == f"{tmp_path}\n"


@pytest.mark.parametrize("error", ["x" * 300_000, "\ud800"], ids=["longer than the kernel takes", "no unicode"])
def test_any_error_can_be_reported(made: Made, tmp_path: Path, error: str) -> None:
    assert (
        hooks.follow(
            made(on_failure="printenv HOOK_ERROR > told"), "on_failure", Event("deploy", "failed", error=error)
        )
        == ""
    )
    assert 1 < len((tmp_path / "told").read_text()) <= hooks.VALUE_LIMIT + 1


def test_a_gate_that_fails_is_3_and_says_how(made: Made) -> None:
    with pytest.raises(GateClosed) as raised:
        hooks.gate(made(before_deploy="echo no; exit 7"), EVENT)
    assert raised.value.code == 3
    for words in ("before_deploy ended with 7", "echo no; exit 7", "hooks.before_deploy", "nothing was changed"):
        assert words in str(raised.value)


def test_no_hook_is_no_gate(made: Made, capsys: Printed) -> None:
    hooks.gate(made(), EVENT)
    assert hooks.follow(made(), "after_deploy", EVENT) == ""
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("exit 7", "ended with 7"),
        ("kill -9 $$", "was ended by signal 9"),
        ("no-such-program", "ended with 127"),
        ("", "No such file"),
    ],
)
def test_a_hook_that_fails_afterwards_is_a_warning(
    made: Made, tmp_path: Path, capsys: Printed, line: str, words: str
) -> None:
    gone = {} if line else {"root": tmp_path / "gone"}
    assert (
        hooks.follow(made(after_deploy=line or "true").model_copy(update=gone), "after_deploy", EVENT)
        == "the hook after_deploy failed"
    )
    output = capsys.readouterr().err
    assert re.search(rf"(?m)^! .*{words}", output)
    assert "  x hook after_deploy" in output


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("sleep 60", id="a child"),
        pytest.param("(echo $$ >> pids; sleep 60 & echo $! >> pids; wait) & wait", id="grandchildren"),
        pytest.param("trap '' TERM; sleep 60 & echo $! >> pids; while :; do wait; done", id="deaf to SIGTERM"),
        pytest.param("exec >&- 2>&-; sleep 60", id="with its output closed"),
        pytest.param("yes", id="with endless output"),
        pytest.param("kill -STOP $$", id="stopped"),
    ],
)
def test_a_hook_that_hangs_is_ended_with_its_whole_group(
    made: Made, tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "GRACE", 0.5)
    started = time.monotonic()
    with pytest.raises(GateClosed, match=r"had not ended after 1 s and was stopped"):
        hooks.gate(made(before_deploy=f"echo $$ > pids; {line}", within=1), EVENT)
    assert time.monotonic() - started < 8
    assert wait_until(lambda: not running(tmp_path / "pids"), 5)


def test_a_hook_is_asked_to_end_before_it_is_killed(made: Made, tmp_path: Path) -> None:
    line = "sh -c 'trap \"sleep 0.3; echo tidied > done; exit\" TERM; echo up > up; while :; do sleep 0.1; done' & wait"
    with pytest.raises(GateClosed, match="was stopped"):
        hooks.gate(made(before_deploy=line, within=1), EVENT)
    assert (tmp_path / "done").read_text() == "tidied\n"


def test_the_output_of_a_hook_is_shown_although_that_takes_longer_than_the_hook(tmp_path: Path) -> None:
    seen: list[str] = []

    def slowly(line: str) -> None:
        time.sleep(0.01)
        seen.append(line)

    assert hooks.attend("seq 50; (sleep 2; echo unheard) &", tmp_path, os.environ, 20, slowly) == 0
    assert seen == [str(number) for number in range(1, 51)]
    time.sleep(1.5)
    assert len(seen) == 50


@pytest.mark.parametrize(
    "leave", ["sleep 60 &", "setsid sleep 60 &"], ids=["in the background", "in a session of its own"]
)
def test_a_hook_is_over_when_its_shell_is(made: Made, tmp_path: Path, leave: str) -> None:
    started = time.monotonic()
    hooks.gate(made(before_deploy=f"{leave} echo $! > pids"), EVENT)
    assert time.monotonic() - started < 5
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        os.kill(pid, 9)


def test_ctrl_c_ends_a_hook(made: Made, tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    with pytest.raises(KeyboardInterrupt):
        hooks.attend("echo $$ > pids; echo x; sleep 60", tmp_path, os.environ, 20, interrupt)
    signal.signal(signal.SIGINT, before)
    assert wait_until(lambda: not running(tmp_path / "pids"), 5)


def test_a_hook_dies_with_inv(made: Made, tmp_path: Path) -> None:
    script = (
        "import sys\nfrom tests.flow.test_hooks import *\n"
        "hooks.gate(samples.settings(Path(sys.argv[1]), hooks=Hooks(before_deploy=sys.argv[2])), EVENT)"
    )
    line = "echo $$ > pids; (sleep 60; touch late) & echo $! >> pids; echo > up; wait"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), line], cwd=ROOT, stderr=subprocess.DEVNULL
    ) as inv:
        assert wait_until((tmp_path / "up").exists, 20)
        inv.kill()
    assert wait_until(lambda: not running(tmp_path / "pids"), 5)


def test_output_is_shown_as_it_comes(tmp_path: Path) -> None:
    line = "echo one; while [ ! -e one ]; do sleep 0.05; done; echo two >&2"
    assert hooks.attend(line, tmp_path, os.environ, 10, lambda shown: (tmp_path / shown).touch()) == 0
    assert (tmp_path / "two").exists()


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (r"printf 'a\nb'", "a|b"),
        (r"printf '1%%\r2%%\r\nend\n'", "1%|2%|end"),
        (r"printf 'caf\303'; sleep 0.3; printf '\251 \377\n'", "café \\xff"),
        (
            "head -c 150000 /dev/zero | tr '\\0' x",
            "|".join("x" * size for size in (1 << 16, 1 << 16, 150_000 - (1 << 17))),
        ),
        ("seq 20000", "|".join(map(str, range(1, 20_001)))),
    ],
    ids=["no last newline", "carriage returns", "a letter in two pieces, and no letter", "no line at all", "much"],
)
def test_any_output_is_lines(tmp_path: Path, line: str, shown: str) -> None:
    seen: list[str] = []
    assert hooks.attend(line, tmp_path, os.environ, 20, seen.append) == 0
    assert "|".join(seen) == shown


def test_a_hook_leaves_no_thread_and_no_pipe(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd")), threading.active_count()  # noqa: PTH208  # names of descriptors
    hooks.attend("echo x", tmp_path, os.environ, 20, lambda _: None)
    assert (set(os.listdir("/proc/self/fd")), threading.active_count()) == before  # noqa: PTH208  # see above
