"""Steps on a real terminal."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios

import pytest

from deploy.config.settings import ROOT

STEP = """
import time
from deploy.core import console
with console.step("wait until green is healthy", within=60) as shown:
    time.sleep(0.3)
    console.warn("meanwhile")
    with console.step("inner"):
        time.sleep(0.2)
    shown.line("later")
"""


TABLE = """
from deploy.core import console
row = ["2026-11-23T13:00:00Z", "rollback", "1f2e3d4c5b6a-a1b2c3", "in service", "12 s", "somebody@some-laptop", "app1, app2"]
console.table(["when (UTC)", "command", "release", "outcome", "took", "who", "hosts"], [row])
console.table(["", "what", "mend it with"], [["missing", "secrets", "edit " + "very-" * 30 + "long"]])
"""


def on_a_terminal(program: str = STEP, columns: int = 80, **environment: str) -> str:
    """Run a program, the step, with a terminal for people and results; return what it drew."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    names = ("NO_COLOR", "FORCE_COLOR", "GITHUB_ACTIONS", "COLUMNS")
    plain = {name: value for name, value in os.environ.items() if name not in names}
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**plain, "TERM": "xterm", **environment},
    )
    os.close(theirs)
    drawn = b""
    try:
        while piece := os.read(ours, 4096):
            drawn += piece
    except OSError:
        pass  # the terminal's other side is closed
    os.close(ours)
    assert process.wait() == 0
    return drawn.decode()


def test_a_wait_has_a_bar_and_ends_as_one_line() -> None:
    drawn = on_a_terminal()
    assert "0 of 60 s" in drawn
    assert "\x1b[32m ok" in drawn
    for line in (
        r"\x1b\[2K\x1b\[33m! meanwhile",
        r"\x1b\[2K    later",
        r"inner  \d\.\d s",
        r"wait until green is healthy  \d\.\d s",
    ):
        assert re.search(line, drawn), line
    assert drawn.count("\x1b[?25l") == 1, "the inner step moves as well"


def test_no_color_keeps_the_bar_and_leaves_the_colours() -> None:
    drawn = on_a_terminal(NO_COLOR="1")
    assert "0 of 60 s" in drawn
    assert "\x1b[3" not in drawn


def test_a_dumb_terminal_gets_lines() -> None:
    drawn = on_a_terminal(TERM="dumb")
    assert "of 60 s" not in drawn
    assert " ok wait until green is healthy" in drawn


@pytest.mark.parametrize("columns", [60, 80, 100, 140])
def test_a_table_is_never_cut_and_ids_and_times_stay_whole(columns: int) -> None:
    drawn = on_a_terminal(TABLE, columns)
    for word in ("2026-11-23T13:00:00Z", "1f2e3d4c5b6a-a1b2c3", "somebody@some-laptop", "rollback"):
        assert word in drawn
    assert "edit" + "very-" * 30 + "long" in re.sub(r"\s", "", drawn), "folded, and nothing is cut"
