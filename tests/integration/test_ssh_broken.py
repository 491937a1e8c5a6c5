"""A real sshd on loopback: what happens when the other side is gone, slow, or only quiet."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread, Timer

import pytest
from paramiko import Message
from paramiko.common import cMSG_CHANNEL_EOF

from deploy.config.environment import remote_hosts
from deploy.core.errors import OpsError, Unreachable
from deploy.core.poll import wait_until
from deploy.core.shell import Secret, command
from deploy.hosts import fleet
from deploy.hosts.ssh import SshHost
from deploy.images import registry
from tests.support import sshd
from tests.support.sshd import HARDENED, Sshd, host_of, refused, runs


def send(server: Sshd, number: int) -> None:
    """Signal what serves the connections: stopped, the other side is there and says nothing any more."""
    for child in server.children():
        os.kill(child, number)


def broken(act: Callable[[], object]) -> float:
    """Say how long it took to notice."""
    began = time.monotonic()
    with pytest.raises(OpsError, match="the connection to app1 broke") as raised:
        act()
    assert type(raised.value) is Unreachable
    assert "what runs there goes on" in raised.value.serves
    assert "inv resume" in raised.value.then
    return time.monotonic() - began


def read_all(host: SshHost, line: str = "sleep 60") -> None:
    with host.open(command("sh", "-c", line)) as process:
        for _ in process.stdout or ():
            pass


def upload(host: SshHost) -> None:
    with host.open(command("cat"), stdin_open=True) as process:
        assert process.stdin
        for _ in range(1000):
            process.stdin.write(b"\0" * (1 << 20))


@pytest.mark.parametrize("through", ["directly", "gateway"])
@pytest.mark.parametrize("act", [lambda host: host.run(command("sleep", "60")), read_all], ids=["run", "open"])
def test_silence_is_noticed(tmp_path: Path, act: Callable[[SshHost], object], through: str) -> None:
    with (
        sshd.running(tmp_path / "s") as server,
        sshd.running(tmp_path / "g", HARDENED, user=server.folder / "user") as gateway,
    ):
        host = host_of(server, gateway=gateway if through == "gateway" else None)
        host.run(command("true"))
        send(server, signal.SIGSTOP)
        assert broken(lambda: act(host)) < 6, "keepalive is 1 s here"
        assert broken(lambda: host.run(command("true"))) < 0.1
        assert broken(lambda: host.get(80, "/")) < 0.1


def test_silence_is_noticed_as_such_when_connecting_may_take_less(tmp_path: Path) -> None:
    with sshd.running(tmp_path) as server:
        host = host_of(server, connect_within=0.9)
        host.run(command("true"))
        send(server, signal.SIGSTOP)
        assert broken(lambda: host.run(command("true"))) < 6


def test_a_server_that_allows_fewer_programs_at_once(tmp_path: Path) -> None:
    with sshd.running(tmp_path, "MaxSessions 1\n") as server:
        host = host_of(server)
        with host.open(command("sleep", "60")):
            assert "MaxSessions" in refused(lambda: host.run(command("true")))


def test_silence_is_noticed_while_much_is_sent(tmp_path: Path) -> None:
    with sshd.running(tmp_path) as server:
        host = host_of(server)
        host.run(command("true"))
        Timer(0.3, send, [server, signal.SIGSTOP]).start()
        with pytest.raises((OSError, OpsError)):
            upload(host)
        assert broken(lambda: host.run(command("true"))) < 0.1


def test_a_killed_server_is_noticed_at_once(tmp_path: Path) -> None:
    with sshd.running(tmp_path) as server:
        host = host_of(server)
        host.run(command("true"))
        Timer(0.3, send, [server, signal.SIGKILL]).start()
        assert broken(lambda: host.run(command("sleep", "60"))) < 2


def test_ctrl_c_ends_what_is_polled_for_on_many_hosts(server: Sshd) -> None:
    hosts = remote_hosts(
        server.settings(Path("/nowhere"), hosts={"a": server.machine(), "b": server.machine(address="localhost")})
    ).values()
    before, polling = server.connections, Barrier(3)

    def interrupt() -> None:
        polling.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    def poll(host: SshHost) -> bool:
        host.run(command("true"))
        polling.wait(10)
        return wait_until(lambda: host.get(1, "/")[0] == 200, 60)

    Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        fleet.each(hosts, poll, among=hosts)  # type: ignore[arg-type]  # it acts on these
    assert server.connections == before + 2, "nobody connects again"
    assert [host.run(command("echo", "x")) for host in hosts] == ["x\n"] * 2, "who says what serves now does"
    for host in hosts:
        host.close()


def test_ctrl_c_ends_the_pause_before_a_registry_is_asked_again(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = remote_hosts(
        server.settings(Path("/nowhere"), hosts={"a": server.machine(), "b": server.machine(address="localhost")})
    ).values()
    monkeypatch.setattr(registry, "PAUSES", (57.25,))

    def interrupt() -> None:
        assert wait_until(lambda: runs("sleep 57.25"), 60)
        os.kill(os.getpid(), signal.SIGINT)

    failing, who = (
        command("sh", "-c", "echo connection refused; exit 1"),
        registry.Account("hub.test/team", "", Secret()),
    )
    Thread(target=interrupt, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fleet.each(hosts, lambda host: registry.with_retries(failing, who, host), among=hosts)
    assert time.monotonic() - began < 15
    for host in hosts:
        host.close()


def test_a_login_does_not_stay_on_a_host_when_the_connection_breaks(tmp_path: Path) -> None:
    def log_in(host: SshHost) -> None:
        with registry.logged_in(registry.Account("hub.test", "", Secret()), host) as (_, folder):
            kept.append(Path(folder))
            (kept[0] / "config.json").write_text("the password")
            send(server, signal.SIGKILL)
            host.run(command("sleep", "60"))

    kept = list[Path]()
    with sshd.running(tmp_path) as server:
        assert broken(lambda: log_in(host_of(server))) < 2
        assert wait_until(lambda: not kept[0].exists(), 60)
        host = host_of(server)
        with registry.logged_in(registry.Account("hub.test", "", Secret()), host) as (_, folder):
            assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert not Path(folder).exists()
        host.close()
    with (
        sshd.running(tmp_path / "full", "SetEnv TMPDIR=/nowhere\n") as server,
        pytest.raises(OpsError, match="no folder for the registry's login could be made: mktemp: "),
    ):
        log_in(host_of(server))


def test_a_connection_that_broke_is_replaced_when_it_is_renewed(tmp_path: Path) -> None:
    with (
        sshd.running(tmp_path / "s") as server,
        sshd.running(tmp_path / "g", HARDENED, user=server.folder / "user") as gateway,
    ):
        host = host_of(server, gateway=gateway)
        assert host.run(command("echo", "x")) == "x\n"
        assert not host.renew(), "one that works stays"
        send(gateway, signal.SIGKILL)
        assert broken(lambda: host.run(command("true"))) < 2
        assert broken(lambda: host.run(command("true"))) < 0.5, "not by itself: what went before may have been lost"
        assert host.renew()
        assert host.run(command("echo", "x")) == "x\n"


def test_a_connection_that_breaks_while_much_is_read_is_reported_as_that(tmp_path: Path) -> None:
    def read_much(host: SshHost) -> None:
        with host.open(command("cat", "/dev/zero")) as process:
            while (process.stdout or sys.stdin).read(1 << 16):
                pass

    with sshd.running(tmp_path) as server:
        for number in range(10):
            host = host_of(server)
            host.run(command("true"))
            Timer(0.05 + 0.007 * number, send, [server, signal.SIGKILL]).start()
            assert broken(lambda host=host: read_much(host)) < 2  # type: ignore[misc]  # mypy sees no default in a lambda


def test_a_quiet_connection_is_no_broken_one(remote: SshHost) -> None:
    assert remote.run(command("sh", "-c", "sleep 5; echo x")) == "x\n"


def test_a_connection_on_which_only_we_speak_is_no_broken_one(remote: SshHost) -> None:
    """As while the lock is held and a migration says nothing."""
    with remote.open(command("sh", "-c", "cat >/dev/null"), stdin_open=True) as process:
        assert process.stdin
        for _ in range(25):
            process.stdin.write(b"\n")
            process.stdin.flush()
            time.sleep(0.2)
        process.terminate()
    assert remote.run(command("echo", "x")) == "x\n"


def test_what_is_sent_on_a_channel_after_its_end_ends_nothing_else(remote: SshHost) -> None:
    """Paramiko may be about to end a program's input when the program has ended; sshd would end the connection."""
    ended = remote.start("true")
    assert wait_until(lambda: ended.closed, 60)
    late = Message()
    late.add_byte(cMSG_CHANNEL_EOF)
    late.add_int(ended.remote_chanid)
    remote.link.transport._send_user_message(late)  # type: ignore[attr-defined]  # as Channel.shutdown does
    for _ in range(20):
        assert remote.run(command("cat"), stdin="x") == "x"
