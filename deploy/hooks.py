"""Hooks: shell lines of the app's own, run where the command was typed, before and after a release changes."""

from __future__ import annotations

import codecs
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Literal

from deploy import console
from deploy.errors import GateClosed, OpsError
from deploy.event import Event
from deploy.settings import Settings
from deploy.wait import until

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
PIECE = 4096  # bytes read at once: the time is looked at in between
PIPE = 16  # pieces that a pipe holds
LONGEST = 1 << 16  # characters; a longer line is shown in pieces
VALUE_LIMIT = 4000  # characters of an error; the kernel takes 128 KiB in one variable


def gate(settings: Settings, event: Event) -> None:
    """Run before_deploy; raise GateClosed when it fails, so that nothing is changed."""
    run(settings, "before_deploy", event)


def follow(settings: Settings, name: Literal["after_deploy", "on_failure"], event: Event) -> str:
    """Run a hook after the fact; warn when it fails, and return that warning: the release stays as it is."""
    try:
        run(settings, name, event)
    except (OpsError, OSError) as error:
        console.warn(str(error.what if isinstance(error, OpsError) else error))
        return f"the hook {name} failed"
    return ""


def run(settings: Settings, name: str, event: Event) -> None:
    """Run one hook, where one is set; raise GateClosed unless it ends with 0 within `hooks.within` seconds."""
    line, within = getattr(settings.hooks, name), settings.hooks.within
    if not line:
        return
    with console.step(f"hook {name}", within=within) as shown:
        code = attend(line, settings.root, {**os.environ, **environment(settings, event)}, within, shown.line)
        if code != 0:
            raise GateClosed(f"the hook {name} {told(code, within)}:\n    {line}", where=f"hooks.{name}", then="mend it and try again")


def told(code: int | None, within: float) -> str:
    """Say how a hook failed."""
    if code is None:
        return f"had not ended after {within:.0f} s and was stopped"
    return f"ended with {code}" if code > 0 else f"was ended by signal {-code}"


def environment(settings: Settings, event: Event) -> dict[str, str]:
    """Tell a hook about the release. Not by OPS_ names: a hook may call `inv`, which reads those as settings."""
    told = {
        "APP": settings.app, "ENV": settings.env, "COMMAND": event.command, "RELEASE": event.release, "COMMIT": event.commit,
        "SERVED": event.before, "OUTCOME": event.outcome, "ERROR": event.error,
    }  # fmt: skip
    return {f"HOOK_{name}": value.replace("\0", " ").encode(errors="replace").decode()[:VALUE_LIMIT] for name, value in told.items()}


def attend(line: str, folder: Path, environ: Mapping[str, str], within: float, show: Callable[[str], None]) -> int | None:
    """Run a shell line as a process group of its own and hand over each line of output as it comes.

    Returns its exit code, None when time was up. Over when the shell is: what it left in the background goes on,
    unheard. When time is up, or this process is interrupted, the whole group is ended.
    """
    process = subprocess.Popen(
        ["sh", "-c", line], cwd=folder, env=environ, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0,
    )  # fmt: skip
    deadline, output = time.monotonic() + within, Output(process.stdout, show)
    try:
        while process.poll() is None:
            if time.monotonic() >= deadline:
                return None
            if not output.read(0.1):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.1)  # it closed its output and works on
        return process.returncode
    finally:
        left = PIPE
        if process.poll() is None:
            end(process)
            left = 1
        output.close(left)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process group: SIGTERM, and SIGKILL for what is left of it after GRACE seconds."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
        until(lambda: process.poll() is not None and not alive(process.pid), GRACE)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(GRACE)


def alive(group: int) -> bool:
    """Tell whether a process group has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


class Output:
    """What a process prints, as lines of text."""

    def __init__(self, pipe: IO[bytes] | None, show: Callable[[str], None]) -> None:
        assert pipe  # noqa: S101  # it was asked for
        self.pipe, self.show, self.rest = pipe, show, ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def read(self, seconds: float) -> bool:
        """Show what comes within some seconds; False when nothing will come any more."""
        if not select.select([self.pipe], [], [], seconds)[0]:
            return True
        piece = self.pipe.read(PIECE) or b""
        *lines, self.rest = re.split(r"\r\n|\r|\n", self.rest + self.decoder.decode(piece))
        for line in lines:
            self.show(line)
        if len(self.rest) >= LONGEST:
            self.show(self.rest)
            self.rest = ""
        return bool(piece)

    def close(self, pieces: int) -> None:
        """Show what is left in the pipe, some pieces of it at most, and the last line when it has no end."""
        for _ in range(pieces):
            self.read(0)
        self.pipe.close()
        if self.rest:
            self.show(self.rest)
