"""A real sshd on loopback: whose key is believed, who we are, and what happens when the other side is gone."""

from __future__ import annotations

import getpass
import os
import pty
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from select import select
from threading import Barrier, Thread, Timer, current_thread, main_thread

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed448
from paramiko import Message
from paramiko.common import cMSG_CHANNEL_EOF

from deploy import fleet
from deploy.errors import OpsError, Unreachable
from deploy.hosts import pin, ssh
from deploy.hosts.ssh import SshHost
from deploy.hosts.ssh.program import WATCHED
from deploy.images import registry
from deploy.shell import Secret, command
from deploy.wait import until
from tests import sshd
from tests.sshd import HARDENED, Sshd, host_of, refused, runs

READER = """
import sys
from deploy.hosts import pin, ssh
from deploy.settings import Settings
from deploy.shell import command

host = ssh.hosts(Settings.model_validate_json(sys.argv[1]))["app1"]
for line in host.open(command("sh", "-c", "echo x; sleep 72.5; true")).stdout:
    print(line, flush=True)
"""


def test_many_commands_at_once_over_one_connection(tmp_path: Path) -> None:
    with sshd.running(tmp_path) as server:
        host = host_of(server)
        with ThreadPoolExecutor(24) as pool:
            said = list(pool.map(lambda n: host.run(command("sh", "-c", f"sleep 0.2; echo {n}")), range(48)))
            assert [int(number) for number in said] == list(range(48))
            assert all(pool.map(lambda port: host.port_is_free("127.0.0.1", port), [1] * 24))
        host.engine.require()
        for _ in range(5):
            host.engine.containers("nothing")
        assert server.connections == 1
        assert server.log.count("Starting session: command") == 48 + 1, "the engine is asked over one channel"


def test_a_command_takes_milliseconds(remote: SshHost) -> None:
    remote.run(command("true"))
    began = time.monotonic()
    for _ in range(20):
        remote.run(command("true"))
    assert (time.monotonic() - began) / 20 < 0.03, "Nagle's algorithm alone takes 0.04"


def test_large_input_flows_with_back_pressure(remote: SshHost) -> None:
    began = time.monotonic()
    with remote.open(command("sh", "-c", "sleep 1; wc -c"), fed=True) as process:
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
    assert time.monotonic() - began < 1 + 100 / 20, "less than 20 MB/s"


def test_words_of_a_guard_come_before_every_command(remote: SshHost, tmp_path: Path) -> None:
    remote.guard = ("sh", "-c", f'echo x >>{tmp_path}/said; exec "$@"', "sh")
    remote.write(tmp_path / "f", "text")
    assert remote.run(command("sh", "-c", "echo $A", A="b")) == "b\n"
    with remote.open(command("true")):
        pass
    assert (tmp_path / "said").read_text() == "x\n" * 3


def test_with_sudo(tmp_path: Path) -> None:
    fake = tmp_path / "bin" / "sudo"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\n[ "$1 $2" = "-n --" ] || exit 9\nshift 2; echo sudo >>"$0.log"; exec env -i PATH="$PATH" "$@"\n')
    fake.chmod(0o755)
    with sshd.running(tmp_path, f"SetEnv PATH={fake.parent}:/usr/bin:/bin\n") as server:
        host = host_of(server, sudo=True)
        assert host.run(command("sh", "-c", "echo $A", A="b")) == "b\n"
        host.write(tmp_path / "f", "text")
        with host.open(command("echo", "x")) as process:
            assert (process.stdout or sys.stdin).read() == b"x\n"
        assert (tmp_path / "bin" / "sudo.log").read_text() == "sudo\n" * 3
        fake.write_text('#!/bin/sh\nshift 2; echo "sudo: unable to resolve host x: Name or service not known" >&2; exec "$@"\n')
        assert host.try_run(command("false")).returncode == 1, "a host that does not know its own name is no reason"
        assert "`nothing` is not installed" in refused(lambda: host.run(command("nothing")))
        fake.write_text("#!/bin/sh\necho sudo: a password is required >&2; exit 1\n")
        assert f"{getpass.getuser()} ALL=(ALL) NOPASSWD: ALL" in refused(lambda: host.run(command("true")))
        assert f"/etc/sudoers.d/{getpass.getuser()}" in refused(lambda: host.write(tmp_path / "f", "text"))
        assert "for a password" in refused(host.engine.require), "an engine that does not answer is another thing"
        fake.unlink()
        assert "`sudo` is not installed" in refused(lambda: host.run(command("true")))


# whose key is believed


def test_a_host_without_a_pinned_key_is_not_talked_to(server: Sshd) -> None:
    before = server.log
    host = host_of(server, hosts={"app1": server.machine(key="")})
    assert "inv hosts.pin --env=local" in refused(lambda: host.run(command("true")))
    assert server.log == before


def test_a_changed_key_is_refused_with_both_fingerprints(server: Sshd, tmp_path: Path) -> None:
    other = tmp_path / "other"
    sshd.key(other)
    pinned = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    before = server.connections
    told = refused(lambda: host_of(server, hosts={"app1": server.machine(key=pinned)}).run(command("true")))
    for path in (other, server.folder / "host"):
        printed = subprocess.run(["ssh-keygen", "-lf", f"{path}.pub"], capture_output=True, text=True).stdout
        assert printed.split()[1] in told
    assert "made anew" in told
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in told
    assert server.connections == before


def test_known_hosts_and_ssh_config_are_not_read(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / ".ssh"
    home.mkdir()
    (home / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.key}\n")
    (home / "config").write_text("Host 127.0.0.1\n  HostName no-such-host.invalid\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    host = host_of(server)
    assert host.run(command("id", "-un")) == f"{getpass.getuser()}\n"
    host.close()
    assert "no pinned host key" in refused(lambda: host_of(server, hosts={"app1": server.machine(key="")}).run(command("true")))


def test_through_a_gateway_where_nothing_may_run(server: Sshd, gateway: Sshd) -> None:
    settings = server.settings(
        Path("/nowhere"), hosts={"app1": server.machine(), "app2": server.machine(address="localhost")}, gateway=gateway
    )
    hosts = ssh.hosts(settings)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda host: host.run(command("echo", "x")), hosts.values())) == ["x\n", "x\n"]
    assert (gateway.connections, gateway.log.count("Starting session")) == (1, 0)
    hosts["app1"].close()
    assert hosts["app2"].run(command("echo", "y")) == "y\n"
    hosts["app2"].close()


@pytest.mark.parametrize("whose", ["gateway", "app1"])
@pytest.mark.parametrize("pinned", [False, True], ids=["unknown", "changed"])
def test_both_keys_are_strict(server: Sshd, gateway: Sshd, whose: str, pinned: bool) -> None:
    settings = server.settings(Path("/nowhere"), gateway=gateway)
    swapped = server.key if whose == "gateway" else gateway.key
    machine = (settings.gateway or settings.hosts["app1"]) if whose == "gateway" else settings.hosts["app1"]
    bad = machine.model_copy(update={"key": swapped if pinned else ""})
    settings = settings.model_copy(update={"gateway": bad} if whose == "gateway" else {"hosts": {"app1": bad}})
    told = refused(lambda: ssh.hosts(settings)["app1"].run(command("true")))
    assert f"the host key of {whose} has changed" in told if pinned else f"{whose} has no pinned host key" in told


def test_a_gateway_that_forbids_forwarding(server: Sshd, tmp_path: Path) -> None:
    with sshd.running(tmp_path / "g", "AllowTcpForwarding no\n", user=server.folder / "user") as closed:
        told = refused(lambda: host_of(server, gateway=closed).run(command("true")))
    assert "AllowTcpForwarding local" in told
    assert "gateway" in told


def test_hosts_that_fail_at_once_behind_a_gateway_are_told_apart(server: Sshd, tmp_path: Path) -> None:
    permitted = "PermitOpen 127.0.0.1:1 127.0.0.1:3 127.0.0.1:5 127.0.0.1:7\n"  # where nothing listens
    with sshd.running(tmp_path / "g", permitted, user=server.folder / "user") as gateway:
        machines = {f"a{port}": server.machine(port=port) for port in range(1, 9)}
        hosts = ssh.hosts(server.settings(Path("/nowhere"), hosts=machines, gateway=gateway))

        def told(host: SshHost) -> set[str]:
            return {refused(lambda: host.run(command("true"))).partition("\n")[0] for _ in range(5)}

        with ThreadPoolExecutor(8) as pool:
            found = dict(zip(hosts, pool.map(told, hosts.values()), strict=True))
        dead = "no SSH connection to a{0}: the gateway 127.0.0.1 does not reach 127.0.0.1:{0}"
        closed = "gateway allows no forwarding to 127.0.0.1:{0}"
        assert found == {f"a{port}": {(dead if port % 2 else closed).format(port)} for port in range(1, 9)}


def test_a_host_that_forbids_forwarding(tmp_path: Path) -> None:
    with sshd.running(tmp_path, "AllowTcpForwarding no\n") as closed:
        for act in (lambda host: host.get(80, "/"), lambda host: host.port_is_free("127.0.0.1", 80)):
            assert "AllowTcpForwarding local in its sshd_config" in refused(lambda act=act: act(host_of(closed)))  # type: ignore[misc]  # mypy sees no default in a lambda


# who we are


def test_a_key_with_a_passphrase(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "locked"
    shutil.copy(server.folder / "user", locked)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "of my own", "-f", str(locked)], check=True, capture_output=True)
    monkeypatch.delenv("SSH_KEY_PASSPHRASE", raising=False)
    assert "SSH_KEY_PASSPHRASE" in refused(lambda: host_of(server, key_file=locked).run(command("true")))
    monkeypatch.setenv("SSH_KEY_PASSPHRASE", "another")
    assert "another passphrase" in refused(lambda: host_of(server, key_file=locked).run(command("true")))
    monkeypatch.setenv("SSH_KEY_PASSPHRASE", "of my own")
    host = host_of(server, key_file=locked)
    assert host.run(command("echo", "x")) == "x\n"
    host.close()


def test_a_passphrase_is_asked_for_once_and_where_ctrl_c_is_heard(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked, asked, said = tmp_path / "locked", list[tuple[str, bool]](), ["another", "of my own"]
    shutil.copy(server.folder / "user", locked)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "of my own", "-f", str(locked)], check=True, capture_output=True)
    monkeypatch.delenv("SSH_KEY_PASSPHRASE", raising=False)

    def answer(prompt: str) -> str:
        asked.append((prompt, current_thread() is main_thread()))
        return said.pop(0)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", answer)
    machines, before = {"a": server.machine(), "b": server.machine(address="localhost")}, server.connections
    hosts = list(ssh.hosts(server.settings(Path("/nowhere"), hosts=machines, key_file=locked)).values())
    assert not asked, "nobody logs in yet"
    assert "another passphrase" in refused(lambda: fleet.each(hosts, lambda host: host.run(command("true")), among=hosts))
    assert (asked, server.connections) == ([(f"Passphrase of {locked}: ", True)], before)
    assert list(fleet.each(hosts, lambda host: host.run(command("echo", "x")), among=hosts).values()) == ["x\n"] * 2
    assert asked == [(f"Passphrase of {locked}: ", True)] * 2
    for host in hosts:
        host.close()


def test_a_key_that_others_can_read_is_refused(server: Sshd, tmp_path: Path) -> None:
    opened = tmp_path / "my key"
    shutil.copy(server.folder / "user", opened)
    opened.chmod(0o640)
    assert f"chmod 600 '{opened}'" in refused(lambda: host_of(server, key_file=opened).run(command("true")))
    assert "cannot be read" in refused(lambda: host_of(server, key_file=tmp_path / "none").run(command("true")))
    assert "cannot be read: Is a directory" in refused(lambda: host_of(server, key_file=tmp_path).run(command("true")))


def test_a_key_that_cannot_be_taken_is_refused(server: Sshd, tmp_path: Path) -> None:
    private = serialization.PrivateFormat.PKCS8
    other = ed448.Ed448PrivateKey.generate().private_bytes(serialization.Encoding.PEM, private, serialization.NoEncryption())
    (tmp_path / "ed448").write_bytes(other)
    (tmp_path / "ed448").chmod(0o600)
    told = refused(lambda: host_of(server, key_file=tmp_path / "ed448").run(command("true")))
    assert "RSA, ECDSA or Ed25519" in told
    assert f"ssh-add {tmp_path}/ed448" in told
    assert "cannot be read" in refused(lambda: host_of(server, key_file=Path("~nosuch/id")).run(command("true")))
    pinned = server.machine(key="ssh-ed25519 AAAAC")
    assert "no public host key: ssh-ed25519 AAAAC" in refused(lambda: host_of(server, hosts={"app1": pinned}).run(command("true")))
    assert "no public host key" in pin.described("ssh-ed25519 AAAAC")


def test_nobody_is_let_in(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sshd.key(tmp_path / "stranger")
    told = refused(lambda: host_of(server, key_file=tmp_path / "stranger").run(command("true")))
    assert f"app1 did not let {getpass.getuser()} in" in told
    assert "ssh-copy-id" in told
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    told = refused(lambda: host_of(server, key_file=None).run(command("true")))
    assert "(tried: the agent and ~/.ssh/id_*)" in told
    assert "ssh-copy-id" in told


# what is in the way


def test_nothing_listens_there(server: Sshd) -> None:
    told = refused(lambda: host_of(server, hosts={"app1": server.machine(port=1)}).run(command("true")))
    assert "nothing listens at 127.0.0.1:1 of app1" in told


def test_what_kept_from_connecting_is_not_waited_for_again(server: Sshd) -> None:
    """A command asks each host several times; a dead one would cost it as many times the limit."""
    host, began = host_of(server, connect_within=1), 0.0
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        first = refused(lambda: host.run(command("true")))
        began = time.monotonic()
        assert refused(lambda: host.run(command("true"))) == first
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert time.monotonic() - began < 0.5
    host.link.ssh = host.link.ssh.model_copy(update={"connect_within": 20})
    host.renew()
    assert host.run(command("echo", "x")) == "x\n"
    host.close()


def test_a_name_that_does_not_resolve(server: Sshd) -> None:
    told = refused(lambda: host_of(server, hosts={"app1": server.machine(address="no-such-host.invalid")}).run(command("true")))
    assert "does not resolve" in told


def test_one_that_never_answers(server: Sshd) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        told = refused(lambda: host_of(server, connect_within=1).run(command("true")))
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert "takes a connection of app1 and says nothing" in told
    assert time.monotonic() - began < 4


# when the other side is gone


def send(server: Sshd, number: int) -> None:
    """Signal what serves the connections: stopped, the other side is there and says nothing any more."""
    for child in server.children():
        os.kill(child, number)


def broken(act: Callable[[], object]) -> float:
    """Say how long it took to notice."""
    began = time.monotonic()
    with pytest.raises(OpsError, match="the connection to app1 broke") as told:
        act()
    assert type(told.value) is Unreachable
    assert "what runs there goes on" in told.value.serves
    assert "inv resume" in told.value.then
    return time.monotonic() - began


def read_all(host: SshHost, line: str = "sleep 60") -> None:
    with host.open(command("sh", "-c", line)) as process:
        for _ in process.stdout or ():
            pass


def upload(host: SshHost) -> None:
    with host.open(command("cat"), fed=True) as process:
        assert process.stdin
        for _ in range(1000):
            process.stdin.write(b"\0" * (1 << 20))


@pytest.mark.parametrize("through", ["directly", "gateway"])
@pytest.mark.parametrize("act", [lambda host: host.run(command("sleep", "60")), read_all], ids=["run", "open"])
def test_silence_is_noticed(tmp_path: Path, act: Callable[[SshHost], object], through: str) -> None:
    with sshd.running(tmp_path / "s") as server, sshd.running(tmp_path / "g", HARDENED, user=server.folder / "user") as gateway:
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
    hosts = ssh.hosts(server.settings(Path("/nowhere"), hosts={"a": server.machine(), "b": server.machine(address="localhost")})).values()
    before, polling = server.connections, Barrier(3)

    def interrupt() -> None:
        polling.wait(10)
        os.kill(os.getpid(), signal.SIGINT)

    def poll(host: SshHost) -> bool:
        host.run(command("true"))
        polling.wait(10)
        return until(lambda: host.get(1, "/")[0] == 200, 60)

    Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        fleet.each(hosts, poll, among=hosts)  # type: ignore[arg-type]  # it acts on these
    assert server.connections == before + 2, "nobody connects again"
    assert [host.run(command("echo", "x")) for host in hosts] == ["x\n"] * 2, "who says what serves now does"
    for host in hosts:
        host.close()


def test_ctrl_c_ends_the_pause_before_a_registry_is_asked_again(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = ssh.hosts(server.settings(Path("/nowhere"), hosts={"a": server.machine(), "b": server.machine(address="localhost")})).values()
    monkeypatch.setattr(registry, "PAUSES", (57.25,))

    def interrupt() -> None:
        assert until(lambda: runs("sleep 57.25"), 10)
        os.kill(os.getpid(), signal.SIGINT)

    failing, who = command("sh", "-c", "echo connection refused; exit 1"), registry.Account("hub.test/team", "", Secret())
    Thread(target=interrupt, daemon=True).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        fleet.each(hosts, lambda host: registry.patiently(failing, who, host), among=hosts)
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
        assert until(lambda: not kept[0].exists(), 5)
        host = host_of(server)
        with registry.logged_in(registry.Account("hub.test", "", Secret()), host) as (_, folder):
            assert Path(folder).stat().st_mode & 0o777 == 0o700
        assert not Path(folder).exists()
        host.close()
    with (
        sshd.running(tmp_path / "full", "SetEnv TMPDIR=/nowhere\n") as server,
        pytest.raises(OpsError, match="no place for a login: mktemp: "),
    ):
        log_in(host_of(server))


def test_a_connection_that_broke_is_made_anew_when_it_is_renewed(tmp_path: Path) -> None:
    with sshd.running(tmp_path / "s") as server, sshd.running(tmp_path / "g", HARDENED, user=server.folder / "user") as gateway:
        host = host_of(server, gateway=gateway)
        assert host.run(command("echo", "x")) == "x\n"
        assert not host.renew(), "one that works stays"
        send(gateway, signal.SIGKILL)
        assert broken(lambda: host.run(command("true"))) < 2
        assert broken(lambda: host.run(command("true"))) < 0.5, "not by itself: what went before may have been lost"
        assert host.renew()
        assert host.run(command("echo", "x")) == "x\n"


def test_a_connection_that_breaks_while_much_is_read_is_told_as_that(tmp_path: Path) -> None:
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
    with remote.open(command("sh", "-c", "cat >/dev/null"), fed=True) as process:
        assert process.stdin
        for _ in range(25):
            process.stdin.write(b"\n")
            process.stdin.flush()
            time.sleep(0.2)
        process.terminate()
    assert remote.run(command("echo", "x")) == "x\n"


def test_what_is_said_on_a_channel_after_its_end_ends_nothing_else(remote: SshHost) -> None:
    """Paramiko may be about to end a program's input when the program has ended; sshd would end the connection."""
    ended = remote.start("true")
    assert until(lambda: ended.closed, 5)
    late = Message()
    late.add_byte(cMSG_CHANNEL_EOF)
    late.add_int(ended.remote_chanid)
    remote.link.transport._send_user_message(late)  # type: ignore[attr-defined]  # as Channel.shutdown does
    for _ in range(20):
        assert remote.run(command("cat"), stdin="x") == "x"


def test_a_program_whose_input_ends_while_it_starts_leaves_nothing() -> None:
    argv = ["sh", "-c", WATCHED, "sh", "timeout", "-k", "5", "0", "sleep", "73.5"]
    for number in range(120):  # `timeout` passes no signal on while it starts its program: one in thirty lived on
        with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL):
            time.sleep(0.00002 * number)
    assert not runs("sleep 73.5")


def test_what_nobody_reads_yet_stays_there(remote: SshHost) -> None:
    with remote.open(command("head", "-c", "50000000", "/dev/zero")) as process, pytest.raises(TimeoutError):
        process.wait(1)


def test_an_exit_code_that_comes_after_the_output(remote: SshHost) -> None:
    for _ in range(100):
        with remote.open(command("sh", "-c", "exec >&- 2>&-; exit 4")) as process:
            assert not (process.stdout or sys.stdin).read()
        assert process.returncode == 4


FOLLOWER = """
import sys
from deploy.hosts import ssh
from deploy.settings import Settings
from deploy.shell import command

sys.exit(ssh.hosts(Settings.model_validate_json(sys.argv[1]))["app1"].follow(command(*sys.argv[2:])))
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
            termios.tcsetwinsize(ours, (44, 88))  # seen by looking: a signal's handler would wait for a lock that the same thread holds
            assert "44 88" in shown(ours, "44 88")
            assert process.wait(10) == 5
            assert termios.tcgetattr(theirs) == before
        finally:
            process.kill()
    os.close(ours)
    os.close(theirs)


def shown(terminal: int, words: str) -> str:
    """Read a terminal until it shows these words, 10 s at most."""
    said, deadline = "", time.monotonic() + 10
    while words not in said and time.monotonic() < deadline:
        if select([terminal], [], [], 0.5)[0]:
            said += os.read(terminal, 4096).decode()
    return said


def test_a_program_ends_when_its_reader_is_killed(server: Sshd, tmp_path: Path) -> None:
    words = [sys.executable, "-c", READER, server.settings(Path("/nowhere")).model_dump_json()]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline()
        assert runs("sleep 72.5")
        process.kill()
    assert until(lambda: not runs("sleep 72.5"), 5)
