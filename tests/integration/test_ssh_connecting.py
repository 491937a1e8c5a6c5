"""A real sshd on loopback: whose key is believed, who we are, and what is said when there is no connection."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import current_thread, main_thread

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed448

from deploy.config import pin
from deploy.config.environment import remote_hosts
from deploy.core.shell import command
from deploy.hosts import fleet
from deploy.hosts.ssh import SshHost
from tests.support import sshd
from tests.support.site import free_port
from tests.support.sshd import Sshd, host_of, refused


def test_a_host_without_a_pinned_key_is_not_talked_to(server: Sshd) -> None:
    before = server.callers
    host = host_of(server, hosts={"app1": server.machine(key="")})
    assert "inv hosts.pin --env=local" in refused(lambda: host.run(command("true")))
    assert server.callers == before
    host_of(server).run(command("true"))
    assert server.callers == before + 1, "one that is talked to is counted"


def test_a_changed_key_is_refused_with_both_fingerprints(server: Sshd, tmp_path: Path) -> None:
    other = tmp_path / "other"
    sshd.key(other)
    pinned = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    before = server.connections
    output = refused(lambda: host_of(server, hosts={"app1": server.machine(key=pinned)}).run(command("true")))
    for path in (other, server.folder / "host"):
        printed = subprocess.run(["ssh-keygen", "-lf", f"{path}.pub"], capture_output=True, text=True).stdout
        assert printed.split()[1] in output
    assert "reinstalled" in output
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in output
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
    assert "no pinned host key" in refused(
        lambda: host_of(server, hosts={"app1": server.machine(key="")}).run(command("true"))
    )


def test_through_a_gateway_where_nothing_may_run(server: Sshd, gateway: Sshd) -> None:
    settings = server.settings(
        Path("/nowhere"), hosts={"app1": server.machine(), "app2": server.machine(address="localhost")}, gateway=gateway
    )
    hosts = remote_hosts(settings)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda host: host.run(command("echo", "x")), hosts.values())) == ["x\n", "x\n"]
    assert (gateway.connections, gateway.log.count("Starting session")) == (1, 0)
    hosts["app1"].close()
    assert hosts["app2"].run(command("echo", "y")) == "y\n"
    hosts["app2"].close()


def test_what_a_host_serves_is_asked_for_through_its_gateway(server: Sshd, gateway: Sshd) -> None:
    """As `inv validate` asks an edge for its certificate; nothing but the way there is the gateway's."""
    settings = server.settings(Path("/nowhere"), hosts={"app1": server.machine()}, gateway=gateway)
    host, before = remote_hosts(settings)["app1"], gateway.connections
    stream = host.connect("127.0.0.1", server.port, 5)
    assert stream.recv(8) == b"SSH-2.0-"
    stream.close()
    with pytest.raises(ConnectionRefusedError):
        host.connect("127.0.0.1", free_port(), 5)
    assert gateway.connections == before + 1
    host.close()


@pytest.mark.parametrize("whose", ["gateway", "app1"])
@pytest.mark.parametrize("pinned", [False, True], ids=["unknown", "changed"])
def test_both_keys_are_strict(server: Sshd, gateway: Sshd, whose: str, pinned: bool) -> None:
    settings = server.settings(Path("/nowhere"), gateway=gateway)
    swapped = server.key if whose == "gateway" else gateway.key
    machine = (settings.gateway or settings.hosts["app1"]) if whose == "gateway" else settings.hosts["app1"]
    bad = machine.model_copy(update={"key": swapped if pinned else ""})
    settings = settings.model_copy(update={"gateway": bad} if whose == "gateway" else {"hosts": {"app1": bad}})
    output = refused(lambda: remote_hosts(settings)["app1"].run(command("true")))
    assert f"the host key of {whose} has changed" in output if pinned else f"{whose} has no pinned host key" in output


def test_a_gateway_that_forbids_forwarding(server: Sshd, tmp_path: Path) -> None:
    with sshd.running(tmp_path / "g", "AllowTcpForwarding no\n", user=server.folder / "user") as closed:
        output = refused(lambda: host_of(server, gateway=closed).run(command("true")))
    assert "AllowTcpForwarding local" in output
    assert "gateway" in output


def test_hosts_that_fail_at_once_behind_a_gateway_are_told_apart(server: Sshd, tmp_path: Path) -> None:
    permitted = "PermitOpen 127.0.0.1:1 127.0.0.1:3 127.0.0.1:5 127.0.0.1:7\n"  # where nothing listens
    with sshd.running(tmp_path / "g", permitted, user=server.folder / "user") as gateway:
        machines = {f"a{port}": server.machine(port=port) for port in range(1, 9)}
        hosts = remote_hosts(server.settings(Path("/nowhere"), hosts=machines, gateway=gateway))

        def output(host: SshHost) -> set[str]:
            return {refused(lambda: host.run(command("true"))).partition("\n")[0] for _ in range(5)}

        with ThreadPoolExecutor(8) as pool:
            found = dict(zip(hosts, pool.map(output, hosts.values()), strict=True))
        dead = "no SSH connection to a{0}: the gateway 127.0.0.1 does not reach 127.0.0.1:{0}"
        closed = "gateway allows no forwarding to 127.0.0.1:{0}"
        assert found == {f"a{port}": {(dead if port % 2 else closed).format(port)} for port in range(1, 9)}


def test_a_host_that_forbids_forwarding(tmp_path: Path) -> None:
    with sshd.running(tmp_path, "AllowTcpForwarding no\n") as closed:
        for act in (lambda host: host.get(80, "/"), lambda host: host.port_is_free("127.0.0.1", 80)):
            assert "AllowTcpForwarding local in its sshd_config" in refused(lambda act=act: act(host_of(closed)))  # type: ignore[misc]  # mypy sees no default in a lambda


def test_a_key_with_a_passphrase(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    locked = tmp_path / "locked"
    shutil.copy(server.folder / "user", locked)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "of my own", "-f", str(locked)], check=True, capture_output=True
    )
    monkeypatch.delenv("SSH_KEY_PASSPHRASE", raising=False)
    assert "SSH_KEY_PASSPHRASE" in refused(lambda: host_of(server, key_file=locked).run(command("true")))
    monkeypatch.setenv("SSH_KEY_PASSPHRASE", "")  # as CI has a secret that there is not
    assert "nobody can be asked here" in refused(lambda: host_of(server, key_file=locked).run(command("true")))
    monkeypatch.setenv("SSH_KEY_PASSPHRASE", "another")
    assert "another passphrase" in refused(lambda: host_of(server, key_file=locked).run(command("true")))
    monkeypatch.setenv("SSH_KEY_PASSPHRASE", "of my own")
    host = host_of(server, key_file=locked)
    assert host.run(command("echo", "x")) == "x\n"
    host.close()


def test_a_passphrase_is_asked_for_once_and_where_ctrl_c_is_heard(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, asked, output = tmp_path / "locked", list[tuple[str, bool]](), ["", "of my own"]
    shutil.copy(server.folder / "user", locked)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-P", "", "-N", "of my own", "-f", str(locked)], check=True, capture_output=True
    )
    monkeypatch.delenv("SSH_KEY_PASSPHRASE", raising=False)

    def answer(prompt: str) -> str:
        asked.append((prompt, current_thread() is main_thread()))
        return output.pop(0)

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", answer)
    machines, before = {"a": server.machine(), "b": server.machine(address="localhost")}, server.connections
    hosts = list(remote_hosts(server.settings(Path("/nowhere"), hosts=machines, key_file=locked)).values())
    assert not asked, "nobody logs in yet"
    assert "another passphrase" in refused(
        lambda: fleet.each(hosts, lambda host: host.run(command("true")), among=hosts)
    )
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


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_keys_at_home_are_held_to_the_same(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Without `ssh.key_file`: one that others can read, one with a passphrase that is empty, another, and right."""
    own = tmp_path / ".ssh" / f"id_{kind}"
    own.parent.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "of my own", "-f", str(own)], check=True)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    own.chmod(0o644)
    assert f"chmod 600 {own}" in refused(lambda: host_of(server, key_file=None).run(command("true")))
    own.chmod(0o600)
    monkeypatch.setenv("SSH_KEY_PASSPHRASE", "")
    assert "encrypted" in refused(lambda: host_of(server, key_file=None).run(command("true")))
    monkeypatch.setenv("SSH_KEY_PASSPHRASE", "another")
    output = refused(lambda: host_of(server, key_file=None).run(command("true")))
    assert "a key in ~/.ssh has another passphrase" in output
    assert "fix SSH_KEY_PASSPHRASE" in output
    monkeypatch.setenv("SSH_KEY_PASSPHRASE", "of my own")
    assert "did not let" in refused(lambda: host_of(server, key_file=None).run(command("true")))


def test_a_key_that_cannot_be_taken_is_refused(server: Sshd, tmp_path: Path) -> None:
    private = serialization.PrivateFormat.PKCS8
    other = ed448.Ed448PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, private, serialization.NoEncryption()
    )
    (tmp_path / "ed448").write_bytes(other)
    (tmp_path / "ed448").chmod(0o600)
    output = refused(lambda: host_of(server, key_file=tmp_path / "ed448").run(command("true")))
    assert "RSA, ECDSA or Ed25519" in output
    assert f"ssh-add {tmp_path}/ed448" in output
    assert "cannot be read" in refused(lambda: host_of(server, key_file=Path("~nosuch/id")).run(command("true")))
    pinned = server.machine(key="ssh-ed25519 AAAAC")
    assert "no public host key: ssh-ed25519 AAAAC" in refused(
        lambda: host_of(server, hosts={"app1": pinned}).run(command("true"))
    )
    assert "no public host key" in pin.described("ssh-ed25519 AAAAC")


def test_nobody_is_let_in(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sshd.key(tmp_path / "stranger")
    output = refused(lambda: host_of(server, key_file=tmp_path / "stranger").run(command("true")))
    assert f"app1 did not let {getpass.getuser()} in" in output
    assert "ssh-copy-id" in output
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    output = refused(lambda: host_of(server, key_file=None).run(command("true")))
    assert "(tried: the agent and ~/.ssh/id_*)" in output
    assert "ssh-copy-id" in output


def test_nothing_listens_there(server: Sshd) -> None:
    output = refused(lambda: host_of(server, hosts={"app1": server.machine(port=1)}).run(command("true")))
    assert "nothing listens at 127.0.0.1:1 of app1" in output


def test_what_kept_from_connecting_is_not_waited_for_again(server: Sshd) -> None:
    """A command asks each host several times; a dead one would cost it as many times the limit."""
    host, began = host_of(server, connect_within=2), 0.0
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        first = refused(lambda: host.run(command("true")))
        began = time.monotonic()
        assert refused(lambda: host.run(command("true"))) == first
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert time.monotonic() - began < 1.5
    host.link.ssh = host.link.ssh.model_copy(update={"connect_within": 20})
    host.renew()
    assert host.run(command("echo", "x")) == "x\n"
    host.close()


def test_a_name_that_does_not_resolve(server: Sshd) -> None:
    output = refused(
        lambda: host_of(server, hosts={"app1": server.machine(address="no-such-host.invalid")}).run(command("true"))
    )
    assert "does not resolve" in output


def test_one_that_never_answers(server: Sshd) -> None:
    os.kill(server.process.pid, signal.SIGSTOP)
    began = time.monotonic()
    try:
        output = refused(lambda: host_of(server, connect_within=1).run(command("true")))
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert "takes a connection of app1 and says nothing" in output
    assert time.monotonic() - began < 4
