"""One operator at a time: a flock on every host, held by a process there for as long as the operator's connection lives."""

from __future__ import annotations

import getpass
import json
import os
import secrets as random
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from deploy.core import console
from deploy.core.errors import CommandFailed, Locked, OpsError
from deploy.core.poll import wait_until
from deploy.core.shell import command
from deploy.hosts.host import GUARDED, LOST, Host, Process
from deploy.state.store import now

BEAT_SECONDS = 3
SILENCE_SECONDS = 15  # after so long without a beat the holder ends, and the kernel frees the lock
LATE_SECONDS = 10
LONGEST_COMMAND = 900  # what the operator before has begun goes on without them, a migration above all
TAKEN = 75

# $1 the state folder, $2 who it is, $3 seconds of silence, $4 seconds to wait; the token stands in argv for GUARD to find.
# What is written over has its place on the disk already: a full one is no reason not to say who it is.
HOLD = """
trap "" INT
mkdir -p "$1" && cd "$1" && exec 9<>lock 8<>changing || exit 1
flock --nonblock 9 || exit 75
flock --nonblock 8 || { echo waiting; flock --wait "$4" 8 || exit 76; }
flock --unlock 8
printf '%-500s\\n' "$$ $2" | dd of=lock conv=notrunc 2>/dev/null
echo held $$
while timeout "$3" sh -c 'read beat' 8<&- 9<&-; do touch lock; done
"""
# $0 the state folder, $1 the holder, $2 its token, then a command: refused once the lock is lost, and awaited by who takes it next
GUARD = f"""
exec 8<>"$0/changing" && flock --shared 8 && grep -qs "$2" "/proc/$1/cmdline" || {{ echo "{LOST}" >&2; exit {GUARDED}; }}
shift 2
exec "$@"
"""


@dataclass(frozen=True)
class Holder:
    """Who holds a host's lock, and for how many seconds nothing was heard of them."""

    process: int
    words: str
    silent: float


def who() -> str:
    """Name the operator: account and machine."""
    try:
        account = getpass.getuser()
    except (KeyError, OSError):
        account = str(os.getuid())
    return f"{account}@{socket.gethostname()}"


@contextmanager
def held(hosts: Iterable[Host], folder: Path, doing: str) -> Iterator[None]:
    """Hold an environment's lock on all hosts, taken in the order of their names; raise Locked naming the holder when another has one.

    While it is held every command on such a host is refused once the lock is lost.
    """
    with ExitStack() as stack:
        for host in sorted(hosts, key=lambda host: host.name):
            stack.enter_context(held_on(host, folder, doing))
        yield


@contextmanager
def held_on(host: Host, folder: Path, doing: str) -> Iterator[None]:
    """Hold the lock of one host."""
    token, identity = random.token_hex(8), json.dumps({"who": who(), "pid": os.getpid(), "command": doing, "since": now()})
    hold, ended = command("sh", "-c", HOLD, token, str(folder), identity, SILENCE_SECONDS, LONGEST_COMMAND), Event()
    with host.open(hold, fed=True) as holding:
        try:
            process = taken(holding, host, folder)
            Thread(target=beat, args=(holding, ended), daemon=True).start()
            host.guard = ("sh", "-c", GUARD, str(folder), str(process), token)
            yield
        finally:
            host.guard = ()
            ended.set()
            with suppress(OSError):
                holding.stdin.close()  # type: ignore[union-attr]  # it was opened to be fed


def taken(holding: Process, host: Host, folder: Path) -> int:
    """Wait until the lock is ours; return the process that holds it."""
    lines = iter(holding.stdout or ())
    said = next(lines, b"").split()
    if said == [b"waiting"]:
        with console.step("wait for what the operator before has begun", within=LONGEST_COMMAND):
            said = next(lines, b"").split()
    if said[:1] == [b"held"]:
        return int(said[1])
    code = holding.wait(SILENCE_SECONDS)
    if code == TAKEN:
        there = holder(host, folder)
        told = there.words if there else "locked by another operator"
        raise Locked(told, where=f"{host.name}: {folder / 'lock'}", then="wait for it to end; inv unlock says who it is")
    said_last = b" ".join([*said, *lines]).decode(errors="backslashreplace")
    raise OpsError(
        f"the lock cannot be taken: {said_last or f'exit code {code}'}",
        where=f"{host.name}: {folder}",
        then="mend that there: inv hosts.check looks at servers, inv disk at the room",
    )


def beat(holding: Process, ended: Event) -> None:
    """Let the holder know that its operator lives."""
    with suppress(OSError, ValueError):  # the holder has gone, or is being closed just now
        while not ended.wait(BEAT_SECONDS):
            holding.stdin.write(b"\n")  # type: ignore[union-attr]  # it was opened to be fed
            holding.stdin.flush()  # type: ignore[union-attr]  # see above


def holder(host: Host, folder: Path) -> Holder | None:
    """Return who holds the lock; None when nobody does. Trying to take it would make another's attempt fail just then."""
    process, _, identity = (host.read(folder / "lock") or "").partition(" ")
    if not process.isdigit() or str(folder) not in (host.read(Path(f"/proc/{process}/cmdline")) or ""):
        return None
    with suppress(CommandFailed):
        times = host.run(command("stat", "--format", "%Y", str(folder / "lock"))), host.run(command("date", "+%s"))
        return Holder(int(process), describe(identity), int(times[1]) - int(times[0]))
    return None


def end(host: Host, folder: Path, found: Holder) -> bool:
    """End the process that holds the lock: the kernel frees it then. Tell whether that came true within 10 s."""
    host.try_run(command("kill", "-KILL", found.process))
    return wait_until(lambda: holder(host, folder) is None, 10)


def describe(identity: str) -> str:
    """Say who holds the lock."""
    try:
        known = json.loads(identity)
        return f"locked by {known['who']} (process {known['pid']}): {known['command']} since {known['since']}"
    except (ValueError, KeyError, TypeError):
        return "locked by another operator"
