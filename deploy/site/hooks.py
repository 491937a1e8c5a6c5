"""Hooks: shell lines of the app's own, run where the command was typed, before and after a release changes."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import IO, Literal

from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import GateClosed, OpsError
from deploy.core.poll import wait_until
from deploy.site.event import Event

GRACE = 5.0  # seconds between SIGTERM and SIGKILL
LAST_WORDS = 5.0  # seconds for what is in the pipe when the shell is over
SILENCE = 0.3  # seconds without a line: whoever has the pipe is in the background
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
            raise GateClosed(
                f"the hook {name} {failure(code, within)}:\n    {line}",
                where=f"hooks.{name}",
                then="fix it and try again",
                slug="hook-failed",
            )


def failure(code: int | None, within: float) -> str:
    """Say how a hook failed."""
    if code is None:
        return f"had not ended after {within:.0f} s and was stopped"
    return f"ended with {code}" if code > 0 else f"was ended by signal {-code}"


def environment(settings: Settings, event: Event) -> dict[str, str]:
    """Tell a hook about the release. Not by OPS_ names: a hook may call `inv`, which reads those as settings."""
    variables = {
        "APP": settings.app,
        "ENV": settings.env,
        "COMMAND": event.command,
        "RELEASE": event.release,
        "COMMIT": event.commit,
        "SERVED": event.before,
        "OUTCOME": event.outcome,
        "ERROR": event.error,
    }
    return {
        f"HOOK_{name}": value.replace("\0", " ").encode(errors="replace").decode()[:VALUE_LIMIT]
        for name, value in variables.items()
    }


def attend(
    line: str, folder: Path, environ: Mapping[str, str], within: float, show: Callable[[str], None]
) -> int | None:
    """Run a shell line as a process group of its own and hand over each line of output as it comes.

    Returns its exit code, None when time was up. Over when the shell is: what it left in the background goes on,
    unheard. When time is up, or this process is interrupted or killed, the whole group is ended.
    """
    # setpriv has the kernel send SIGTERM when this process dies; timeout, here without a time, passes it to the group
    guarded = ["setpriv", "--pdeathsig=TERM", "timeout", f"--kill-after={GRACE}", "0", "sh", "-c", line]
    process = subprocess.Popen(
        guarded, cwd=folder, env=environ, start_new_session=True, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="backslashreplace",
    )  # fmt: skip
    reader, last_words = Reader(process.stdout, show), LAST_WORDS
    try:
        reader.start()
        with suppress(subprocess.TimeoutExpired):
            return process.wait(within)
        return None
    finally:
        if process.poll() is None:
            end(process)
            last_words = SILENCE
        reader.finish(last_words)


class Reader(Thread):
    """Shows what a process prints, until all that have its output closed it, or nobody listens any more."""

    def __init__(self, output: IO[str] | None, show: Callable[[str], None]) -> None:
        super().__init__(daemon=True)
        assert output  # noqa: S101  # it was asked for
        self.output, self.show, self.count, self.over = output, show, 0, False

    def run(self) -> None:
        """Show each line as it comes."""
        with self.output:
            while (text := self.output.readline(LONGEST)) and not self.over:
                self.show(text.removesuffix("\n"))
                self.count += 1

    def finish(self, seconds: float) -> None:
        """Let it show what is in the pipe: it is over after some seconds, or when nothing comes any more."""
        shown, deadline = -1, time.monotonic() + seconds
        while self.is_alive() and shown != self.count and time.monotonic() < deadline:
            shown = self.count
            self.join(SILENCE)
        self.over = True


def end(process: subprocess.Popen[str]) -> None:
    """End a process group: SIGTERM, and SIGKILL for what is left of it after GRACE seconds."""
    process.terminate()
    wait_until(lambda: gone(process), GRACE)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(GRACE)


def gone(process: subprocess.Popen[str]) -> bool:
    """Tell whether a process group has no member left, or none that is ours."""
    process.poll()
    try:
        os.killpg(process.pid, 0)
    except (ProcessLookupError, PermissionError):
        return True
    return False
