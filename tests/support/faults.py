"""What goes wrong on fake hosts, and when."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.core.errors import OpsError, Unreachable
from tests.support.fake import FakeHost
from tests.support.place import Killed

FULL = OSError(errno.ENOSPC, "No space left on device")


def once(host: Any, name: str, error: BaseException) -> None:
    """Fail the next line that is added to a file of a host."""
    append = host.append

    def broken(path: Path, line: str) -> None:
        if path.name == name:
            host.append = append
            raise error
        append(path, line)

    host.append = broken


def when(host: Any, step: str, state: str, act: Callable[[], object]) -> None:
    """Do something each time that a host writes down one end of a step."""
    append = host.append

    def watching(path: Path, line: str) -> None:
        append(path, line)
        if f'"step": "{step}", "state": "{state}"' in line:
            act()

    host.append = watching


def nth(host: Any, step: str, state: str, number: int, act: Callable[[], object]) -> None:
    """Do something when a host writes down one end of a step for the n-th time."""
    calls: list[str] = []

    def seen() -> None:
        calls.append(step)
        if len(calls) == number:
            act()

    when(host, step, state, seen)


def cut(*hosts: Any) -> None:
    """Break the connections to hosts."""
    for host in hosts:

        def lost(*_: object, host: Any = host, **__: object) -> None:
            raise Unreachable(f"the connection to {host.name} broke")

        for name in ("try_run", "read", "append", "write", "pointed", "point", "get", "hit"):
            setattr(host, name, lost)


def clear_faults(*hosts: Any) -> None:
    """Have the connections again."""
    for host in hosts:
        for name in ("try_run", "read", "append", "write", "pointed", "point", "get", "hit"):
            vars(host).pop(name, None)


def fail_at(host: Any, step: str, error: OpsError | None = None) -> None:
    """Let a host fail when it comes to a step, whichever number it has."""
    begin = FakeHost.begin_fault

    def fault() -> BaseException | None:
        return error or (None if step in ("AwaitHealthy", "AwaitServed") else OpsError(f"{step} failed on {host.name}"))

    def watching(path: Path, line: str, append: Callable[[Path, str], None] = host.append) -> None:
        append(path, line)
        if path.name == "journal.jsonl" and f'"step": "{step}", "state": "begin"' in line:
            host.fault = (-1, fault)
            begin(host, step)
            host.append = append  # once

    host.append = watching


def killed(site: Any, host: Any, step: str, release: str) -> None:
    """Let the operator die when a host has done a step of a release."""
    when(host, step, "done", site.dead.set)
    with pytest.raises(Killed):
        site.deploy(release)
    vars(host).pop("append")
    site.revive()


def raising(error: BaseException | type[BaseException]) -> Callable[..., None]:
    """Return what raises an error, however it is called."""

    def called(*_: object, **__: object) -> None:
        raise error

    return called
