"""Locks of an environment: a flock on every host, held by a process there while the operator's connection lives."""

from __future__ import annotations

import getpass
import json
import os
import secrets as random
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from threading import Event, Thread
from typing import Literal

from deploy.core import console
from deploy.core.errors import CommandFailed, Locked, OpsError
from deploy.core.poll import wait_until
from deploy.core.shell import Command, command, query
from deploy.hosts.guard import Guard
from deploy.hosts.host import Host, Process
from deploy.state.store import now

HEARTBEAT_SECONDS = 3
SILENCE_SECONDS = 15  # after so long without a heartbeat the holder ends, and the kernel frees the lock
LATE_SECONDS = 10
LONGEST_COMMAND = 900  # what the operator before has begun goes on without them, a migration above all
TAKEN, BUSY = 75, 76

# $1 the state folder, $2 who it is, $3 seconds of silence, $4 seconds to wait for what has begun, $5 and $6 the lock's
# files; the token stands in argv for guards to find.
# It asks for half a second: the kernel frees the lock of a killed holder a moment after its process has ended, and who
# looks whether the lock is free takes it for a moment.
# While it waits for what has begun it checks each second whether its operator is still there: else it would take the
# lock for an operator who is gone. The holder's name is written over the old one, of one length, so that a full disk
# does not prevent it.
HOLD = """
trap "" INT
mkdir -p "$1" && cd "$1" && exec 9<>"$5" 8<>"$6" || exit 1
flock --wait 0.5 9 || exit 75
left=$4
flock --nonblock 8 || {
    echo waiting
    until [ "$left" -gt 0 ] || exit 76; flock --wait 1 8 9<&-; do
        left=$((left - 1))
        timeout 0.1 sh -c 'read heartbeat' 8<&- 9<&-
        [ $? -ne 1 ] || exit 1
    done
}
flock --unlock 8
printf '%-500s\\n' "$$ $2" | dd of="$5" conv=notrunc 2>/dev/null
echo held $$
while timeout "$3" sh -c 'read heartbeat' 8<&- 9<&-; do touch "$5"; done
"""

Name = Literal["change", "dump"]


@dataclass(frozen=True)
class Lock:
    """One of an environment's locks: the file that its holder locks, and the one that each of its commands locks."""

    name: Name
    file: str
    changing: str
    descriptor: int


# `change` is for whatever changes an environment, `dump` for what reads its data for hours, and for migrations, which
# must not come in between. Toolkits that know one lock call its files as `change` does.
LOCKS: Mapping[Name, Lock] = {
    "change": Lock("change", "lock", "changing", 8),
    "dump": Lock("dump", "lock.dump", "changing.dump", 7),
}


@dataclass(frozen=True)
class Holder:
    """Who holds a lock of a host, and the seconds since their last heartbeat."""

    process: int
    words: str
    silent: float
    lock: Name = "change"


def who() -> str:
    """Name the operator: account and machine."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = str(os.getuid())
    return f"{account}@{socket.gethostname()}"


@contextmanager
def held(hosts: Iterable[Host], folder: Path, command: str, name: Name = "change", within: float = 0) -> Iterator[None]:
    """Hold a lock of an environment on all hosts, taken in the order of their names.

    While it is held whatever changes such a host is refused once the lock is lost. Raises Locked naming the holder
    where another has one, and does not let go of it `within` so many seconds.
    """
    deadline = time.monotonic() + within
    with ExitStack() as stack:
        for host in sorted(hosts, key=lambda host: host.name):
            stack.enter_context(held_on(host, folder, command, LOCKS[name], deadline))
        yield


@contextmanager
def held_on(host: Host, folder: Path, command: str, lock: Lock, deadline: float) -> Iterator[None]:
    """Hold a lock of one host."""
    token, ended = random.token_hex(8), Event()
    with acquired(host, folder, command, lock, token, deadline) as (holding, process):
        guard = Guard(folder / lock.changing, process, token, lock.descriptor)
        try:
            Thread(target=heartbeat, args=(holding, ended), daemon=True).start()
            host.guards = (*host.guards, guard)
            yield
        finally:
            host.guards = tuple(other for other in host.guards if other is not guard)
            ended.set()
            with suppress(OSError):
                holding.stdin.close()  # type: ignore[union-attr]  # it was opened with stdin_open


@contextmanager
def acquired(
    host: Host, folder: Path, command: str, lock: Lock, token: str, deadline: float
) -> Iterator[tuple[Process, int]]:  # fmt: skip
    """Start a process that holds the lock, again until the deadline where another holds it.

    Yield it and its number there.
    """
    while True:
        with ExitStack() as stack:
            try:
                holding = stack.enter_context(host.open(hold(folder, command, lock, token, deadline), stdin_open=True))
                process = awaited(holding, host, folder, lock)
            except Locked:
                stack.close()
                if not await_free(host, folder, lock, deadline):
                    raise
                continue
            yield holding, process
            return


def hold(folder: Path, doing: str, lock: Lock, token: str, deadline: float) -> Command:
    """Make the command that holds a lock: a query, for no lock guards another."""
    identity = json.dumps({"who": who(), "pid": os.getpid(), "command": doing, "since": now()})
    patience = LONGEST_COMMAND if lock.name == "change" else max(0, ceil(deadline - time.monotonic()))
    return query("sh", "-c", HOLD, token, str(folder), identity, SILENCE_SECONDS, patience, lock.file, lock.changing)


def await_free(host: Host, folder: Path, lock: Lock, deadline: float) -> bool:
    """Wait until nobody holds a lock; False when somebody does at the deadline."""
    left = deadline - time.monotonic()
    if left <= 0:
        return False
    there = holder(host, folder, lock.name)
    with console.step(f"wait on {host.name}: {there.words if there else 'locked'}", within=left):
        return wait_until(lambda: is_free(host, folder, lock), left, pause=0.5)


def is_free(host: Host, folder: Path, lock: Lock) -> bool:
    """Tell whether nobody holds a lock. It is tried too: a holder may not have written its name yet."""
    tried = query("flock", "--nonblock", "--shared", str(folder / lock.file), "true")
    return holder(host, folder, lock.name) is None and not host.try_run(tried).returncode


def awaited(holding: Process, host: Host, folder: Path, lock: Lock) -> int:
    """Wait until the lock is ours; return the process that holds it."""
    lines = iter(holding.stdout or ())
    line = next(lines, b"").split()
    if line == [b"waiting"]:
        with console.step("wait for what the operator before has begun", within=LONGEST_COMMAND):
            line = next(lines, b"").split()
    if line[:1] == [b"held"]:
        return int(line[1])
    code = holding.wait(SILENCE_SECONDS)
    if code in (TAKEN, BUSY):
        raise taken(host, folder, lock, code)
    rest = b" ".join([*line, *lines]).decode(errors="backslashreplace")
    raise OpsError(
        f"the lock cannot be taken: {rest or f'exit code {code}'}",
        where=f"{host.name}: {folder}",
        then="fix that there: inv hosts.check looks at servers, inv disk at the room",
        slug="lock-failed",
    )


def taken(host: Host, folder: Path, lock: Lock, code: int) -> Locked:
    """Return the error that names the holder of a lock, or says that a command of the former holder still runs."""
    there = holder(host, folder, lock.name)
    words = there.words if there else describe("", lock.name)
    if code == BUSY:
        words = f"what the holder of the lock `{lock.name}` before had begun still runs"
    return Locked(
        words, where=f"{host.name}: {folder / lock.file}", then="wait for it to end; inv unlock says who it is"
    )


def heartbeat(holding: Process, ended: Event) -> None:
    """Send the holder a sign of life of its operator every few seconds."""
    with suppress(OSError, ValueError):  # the holder has gone, or is being closed just now
        while not ended.wait(HEARTBEAT_SECONDS):
            holding.stdin.write(b"\n")  # type: ignore[union-attr]  # it was opened with stdin_open
            holding.stdin.flush()  # type: ignore[union-attr]  # see above


def holders(host: Host, folder: Path) -> tuple[Holder, ...]:
    """Return who holds the locks of a host, all asked at once: each takes its time over a slow line."""
    with ThreadPoolExecutor(len(LOCKS)) as pool:
        return tuple(filter(None, pool.map(lambda name: holder(host, folder, name), LOCKS)))


def holder(host: Host, folder: Path, name: Name = "change") -> Holder | None:
    """Return who holds a lock, by its file; None when nobody does.

    The lock is not tried: another operator's attempt would fail meanwhile.
    """
    file = folder / LOCKS[name].file
    process, _, identity = (host.read(file) or "").partition(" ")
    if not process.isdigit() or not holds(command_line(host, process), folder, LOCKS[name]):
        return None
    with suppress(CommandFailed):
        times = host.run(query("stat", "--format", "%Y", str(file))), host.run(query("date", "+%s"))
        return Holder(int(process), describe(identity, name), int(times[1]) - int(times[0]), name)
    return None


def command_line(host: Host, process: str) -> str:
    """Return a process's command line; empty when it has ended, also while it is read."""
    with suppress(ProcessLookupError):
        return host.read(Path(f"/proc/{process}/cmdline")) or ""
    return ""


def holds(command_line: str, folder: Path, lock: Lock) -> bool:
    """Tell whether a process holds a lock by its command line: the number may be another's by now. Pure."""
    dumps = LOCKS["dump"].file in command_line.split("\0")  # older toolkits name no file
    return str(folder) in command_line and dumps == (lock.name == "dump")


def end(host: Host, folder: Path, there: Holder) -> bool:
    """End the process that holds a lock: the kernel frees it then. Tell whether that came true within 10 s."""
    host.try_run(command("kill", "-KILL", there.process))
    return wait_until(lambda: holder(host, folder, there.lock) is None, 10)


def describe(identity: str, name: Name = "change") -> str:
    """Say who holds a lock."""
    locked = "locked" if name == "change" else f"the lock `{name}` is held"
    try:
        named = json.loads(identity)
        return f"{locked} by {named['who']} (process {named['pid']}): {named['command']} since {named['since']}"
    except (ValueError, KeyError, TypeError):
        return f"{locked} by another operator"
