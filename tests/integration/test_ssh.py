"""A real sshd on loopback: programs that run on a host over one connection."""

from __future__ import annotations

import getpass
import os
import pty
import subprocess
import sys
import termios
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from select import select

import pytest

from deploy.core.poll import wait_until
from deploy.core.shell import command, query
from deploy.hosts.files import WRITE
from deploy.hosts.guard import Guard
from deploy.hosts.ssh import SshHost
from deploy.hosts.ssh.program import WATCHED
from tests.support import sshd
from tests.support.delay import delayed
from tests.support.sshd import Sshd, host_of, refused, runs

READER = """
import sys
from deploy.config.environment import remote_hosts
from deploy.config.settings import Settings
from deploy.core.shell import command

host = remote_hosts(Settings.model_validate_json(sys.argv[1]))["app1"]
for line in host.open(command("sh", "-c", "echo x; sleep 72.5; true")).stdout:
    print(line, flush=True)
"""

STREAM_READER = READER.replace("for line in host.open(", "with host.stream(").replace(
    ").stdout:\n", ") as process:\n  for line in process.stdout:\n"
)


def test_many_commands_at_once_over_one_connection(tmp_path: Path) -> None:
    with sshd.running(tmp_path) as server:
        host = host_of(server)
        with ThreadPoolExecutor(24) as pool:
            output = list(pool.map(lambda n: host.run(command("sh", "-c", f"sleep 0.2; echo {n}")), range(48)))
            assert [int(number) for number in output] == list(range(48))
            assert all(pool.map(lambda port: host.port_is_free("127.0.0.1", port), [1] * 24))
        host.engine.require()
        for _ in range(5):
            host.engine.containers("nothing")
        assert server.connections == 1
        assert server.log.count("Starting session: command") == 48 + 1 + 5, (
            "a listing is one program, whatever the number of containers; the engine is asked the rest over one channel"
        )


def test_questions_to_a_host_far_away_are_asked_at_once(tmp_path: Path) -> None:
    """Sessions are opened ahead; sshd, which still counts those that have just ended, refuses some."""

    def seconds(*lines: str) -> float:
        began = time.monotonic()
        answers = host.concurrently(*(partial(host.run, query("echo", line)) for line in lines))
        assert answers == [f"{n}\n" for n in lines]
        return time.monotonic() - began

    with sshd.running(tmp_path) as server, delayed(server.port, 0.1) as port:
        host = host_of(server, hosts={"app1": server.machine(port=port)})
        host.run(query("true"))
        ratios = (seconds(*"12345") / seconds("1") for _ in range(10))
        assert any(ratio < 2 for ratio in ratios), "one after the other they take five times as long"
        with ThreadPoolExecutor(24) as pool:
            assert list(pool.map(lambda n: host.run(query("echo", str(n))), range(48))) == [f"{n}\n" for n in range(48)]
        with ExitStack() as followed:  # none of these may be one that was opened ahead, and they get room
            for _ in range(host.followable):
                followed.enter_context(host.open(query("sleep", "60")))
            assert host.run(query("true")) == ""
        assert server.connections == 1


def test_of_files_that_are_written_together_none_is_half_there(remote: SshHost, tmp_path: Path) -> None:
    texts = {
        tmp_path / "a b" / name: (text, mode) for name, text, mode in [("1", "", 0o600), ("2", "x\n" * 9999, 0o644)]
    }
    remote.write_all(texts)
    assert {path: (path.read_text(), path.stat().st_mode & 0o777) for path in texts} == texts
    half = "3 644\nnew30 644\nthe connection b"
    assert remote.try_run(command("sh", "-c", WRITE, "sh", *map(str, texts)), stdin=half).returncode
    assert [path.read_text()[:3] for path in texts] == ["new", "x\nx"]


def test_lines_are_added_as_they_are_short_or_long(remote: SshHost, tmp_path: Path) -> None:
    lines = ["%s \\n $HOME `id` 'ü\"", "", "x" * 200_000, "-n"]
    for line in lines:
        remote.append(tmp_path / "log", line)
    assert (tmp_path / "log").read_text().split("\n") == [*lines, ""]


def test_a_command_takes_milliseconds(remote: SshHost) -> None:
    """The quickest of them, since other tests have the processors too."""
    taken = []
    for _ in range(20):
        began = time.monotonic()
        remote.run(command("true"))
        taken.append(time.monotonic() - began)
    assert min(taken) < 0.03, "Nagle's algorithm alone takes 0.04"


def test_large_input_flows_with_back_pressure(remote: SshHost) -> None:
    began = time.monotonic()
    with remote.open(command("sh", "-c", "sleep 1; wc -c"), stdin_open=True) as process:
        assert process.stdin
        assert process.stdout
        written = 0
        while written < 100 << 20:
            process.stdin.write(b"\0" * (1 << 20))
            written += 1 << 20
            if time.monotonic() - began < 0.5:
                assert written < 8 << 20, "what nobody reads is kept in memory"
        process.stdin.close()
        assert int(process.stdout.read()) == written


class Noting(Guard):
    """A guard that only says that it was asked."""

    @property
    def words(self) -> tuple[str, ...]:
        return "sh", "-c", f'echo x >>{self.changing}/said; exec "$@"', "sh"


def test_words_of_a_guard_come_before_every_command_that_changes_something(remote: SshHost, tmp_path: Path) -> None:
    remote.guards = (Noting(tmp_path, 1, "token"),)
    remote.write(tmp_path / "f", "text")
    assert remote.run(command("sh", "-c", "echo $A", A="b")) == "b\n"
    assert remote.run(query("echo")) == remote.read(tmp_path / "none") or "\n"
    assert (tmp_path / "said").read_text() == "x\n" * 2


def test_with_sudo(tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "sudo"
    fake.parent.mkdir()
    fake.write_text(
        '#!/bin/sh\n[ "$1 $2" = "-n --" ] || exit 9\nshift 2; echo sudo >>"$0.log"; exec env -i PATH="$PATH" "$@"\n'
    )
    fake.chmod(0o755)
    with sshd.running(tmp_path, f"SetEnv PATH={fake.parent}:/usr/bin:/bin\n") as server:
        host = host_of(server, sudo=True)
        assert host.run(command("sh", "-c", "echo $A", A="b")) == "b\n"
        host.write(tmp_path / "f", "text")
        with host.open(command("echo", "x")) as process:
            assert (process.stdout or sys.stdin).read() == b"x\n"
        assert (tmp_path / "bin" / "sudo.log").read_text() == "sudo\n" * 3
        fake.write_text(
            '#!/bin/sh\nshift 2; echo "sudo: unable to resolve host x: Name or service not known" >&2; exec "$@"\n'
        )
        assert host.try_run(command("false")).returncode == 1, "a host that does not know its own name is no reason"
        assert "`nothing` is not installed" in refused(lambda: host.run(command("nothing")))
        fake.write_text("#!/bin/sh\necho sudo: a password is required >&2; exit 1\n")
        assert f"{getpass.getuser()} ALL=(ALL) NOPASSWD: ALL" in refused(lambda: host.run(command("true")))
        assert f"/etc/sudoers.d/{getpass.getuser()}" in refused(lambda: host.write(tmp_path / "f", "text"))
        assert "for a password" in refused(host.engine.require), "an engine that does not answer is another thing"
        fake.unlink()
        assert "`sudo` is not installed" in refused(lambda: host.run(command("true")))


def test_a_program_whose_input_ends_while_it_starts_leaves_nothing() -> None:
    argv = ["sh", "-c", WATCHED, "sh", "timeout", "-k", "5", "0", "sleep", "73.5"]
    for number in range(120):  # `timeout` passes no signal on while it starts its program: one in thirty lived on
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL):
            time.sleep(0.00002 * number)
    assert not runs("sleep 73.5")


def test_what_nobody_reads_yet_stays_there(remote: SshHost) -> None:
    with remote.open(command("head", "-c", "50000000", "/dev/zero")) as process, pytest.raises(TimeoutError):
        process.wait(1)


TWO_STREAMS = "import os\nfor n in range(9000): os.write(1 + n % 2, b'%d %s\\n' % (n, b'x' * (n % 3001)))"


def test_lines_of_two_streams_stay_whole_and_in_their_order(remote: SshHost) -> None:
    """`docker logs` writes to both what a container wrote to both."""
    with remote.open(command(sys.executable, "-c", TWO_STREAMS)) as process:
        lines = [line.decode().split() for line in process.stdout or ()]
    assert lines == [[str(n), "x" * (n % 3001)] if n % 3001 else [str(n)] for n in range(9000)]


def test_an_exit_code_that_comes_after_the_output(remote: SshHost) -> None:
    for _ in range(100):
        with remote.open(command("sh", "-c", "exec >&- 2>&-; exit 4")) as process:
            assert not (process.stdout or sys.stdin).read()
        assert process.returncode == 4


FOLLOWER = """
import sys
from deploy.config.environment import remote_hosts
from deploy.config.settings import Settings
from deploy.core.shell import command

sys.exit(remote_hosts(Settings.model_validate_json(sys.argv[1]))["app1"].follow(command(*sys.argv[2:])))
"""


def following(server: Sshd, *words: str) -> list[str]:
    return [sys.executable, "-c", FOLLOWER, server.settings(Path("/nowhere")).model_dump_json(), *words]


def test_follow_passes_all_three_streams_on(server: Sshd) -> None:
    argv, data = following(server, "sh", "-c", "wc -c; echo err >&2; tty; exit 7"), os.urandom(5_000_000)
    done = subprocess.run(argv, input=data, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (7, b"5000000\nnot a tty\n", b"err\n")


@pytest.mark.parametrize("line", ["yes", "yes >&2"])
def test_follow_ends_when_its_reader_has_seen_enough(server: Sshd, line: str) -> None:
    with subprocess.Popen(
        following(server, "sh", "-c", line), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        streams = (process.stdout, process.stderr) if line == "yes" else (process.stderr, process.stdout)
        read, other = streams
        assert read
        assert other
        assert read.readline() == b"y\n"
        read.close()
        try:
            assert (process.wait(10), other.read()) == (0, b"")
        finally:
            process.kill()


def test_follow_gives_a_terminal_where_there_is_one(server: Sshd) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (33, 77))
    line = "trap 'stty size; exit 5' WINCH; stty size; read -r x; echo got $x; while :; do sleep 0.1; done"
    with subprocess.Popen(
        following(server, "sh", "-c", line), stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    ) as process:
        try:
            before = termios.tcgetattr(theirs)
            assert "33 77" in shown(ours, "33 77")
            assert termios.tcgetattr(theirs) != before, "raw"
            os.write(ours, b"hello\r")
            assert "got hello" in shown(ours, "got hello")
            termios.tcsetwinsize(
                ours, (44, 88)
            )  # seen by looking: a signal's handler would wait for a lock that the same thread holds
            assert "44 88" in shown(ours, "44 88")
            assert process.wait(10) == 5
            assert termios.tcgetattr(theirs) == before
        finally:
            process.kill()
    os.close(ours)
    os.close(theirs)


def shown(terminal: int, words: str) -> str:
    """Read a terminal until it shows these words, 10 s at most."""
    output, deadline = "", time.monotonic() + 10
    while words not in output and time.monotonic() < deadline:
        if select([terminal], [], [], 0.5)[0]:
            output += os.read(terminal, 4096).decode()
    return output


@pytest.mark.parametrize("reader", ["open", "stream"])
def test_a_program_ends_when_its_reader_is_killed(server: Sshd, tmp_path: Path, reader: str) -> None:
    words = [
        sys.executable,
        "-c",
        {"open": READER, "stream": STREAM_READER}[reader],
        server.settings(Path("/nowhere")).model_dump_json(),
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            assert process.stdout.readline()
            assert wait_until(lambda: runs("sleep 72.5"), 60)
        finally:
            process.kill()
    assert wait_until(lambda: not runs("sleep 72.5"), 30)
