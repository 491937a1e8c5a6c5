"""The test bed of SSH is what it says it is: its faults are those of the nights."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import paramiko
import pytest

from deploy.images import bases
from tests.integration.conftest import machine, machines
from tests.machines import ASKED, Fleet, Machine
from tests.support.site import ROOT

__all__ = ["machine", "machines"]  # fixtures
BUSYBOX = bases.read(ROOT)["busybox"].local_tag


def client(
    fleet: Fleet, machine: Machine, user: str = "deploy", host_key: str = "", through: paramiko.Channel | None = None
) -> paramiko.SSHClient:
    """Log in where the host key is the host_key one, and nowhere else."""
    entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{machine.address} {host_key or machine.key}")
    assert entry is not None
    made = paramiko.SSHClient()
    made.set_missing_host_key_policy(paramiko.RejectPolicy())
    made.get_host_keys().add(machine.address, entry.key.get_name(), entry.key)
    made.connect(
        machine.address,
        username=user,
        key_filename=str(fleet.key),
        look_for_keys=False,
        allow_agent=False,
        timeout=5,
        sock=through,
    )
    return made


def ran(session: paramiko.SSHClient, words: str, stdin: str = "") -> tuple[int, str]:
    """Run a command; return its exit code and what it said."""
    feed, stdout, _ = session.exec_command(words, timeout=20)
    feed.write(stdin)
    feed.channel.shutdown_write()
    text = stdout.read().decode().strip()
    return stdout.channel.recv_exit_status(), text


@pytest.fixture
def classic(machines: Fleet) -> Iterator[Machine]:
    """A server on the classic image store, with two host keys."""
    started = machines.start("classic", "classic", host_keys=("ed25519", "rsa"))
    yield started
    machines.end(started)


def test_each_account_is_let_in_and_may_what_it_may(machines: Fleet, machine: Machine) -> None:
    driver = "docker info --format '{{.Driver}}'"
    for user in ("root", "deploy"):
        with client(machines, machine, user) as session:
            assert ran(session, driver) == (0, "overlayfs")
    with client(machines, machine, "sudoer") as session:
        assert ran(session, "docker ps")[0] == 1  # `docker info --format` ends with 0 where it was refused
        assert ran(session, f"sudo -n {driver}") == (0, "overlayfs")
    with client(machines, machine, "asker") as session:
        assert ran(session, "sudo -n true")[0] == 1
        assert ran(session, "sudo -S id -u", f"{ASKED}\n") == (0, "0")


def test_the_classic_store_and_other_host_keys(machines: Fleet, classic: Machine) -> None:
    assert classic.sh("docker info --format '{{.Driver}}'") == "overlay2\n"
    assert [key.split()[0] for key in classic.keys] == ["ssh-ed25519", "ssh-rsa"]
    classic.load(BUSYBOX)
    assert classic.sh("docker run --rm $1 busybox echo runs", BUSYBOX) == "runs\n"


def test_a_changed_host_key_is_seen(machines: Fleet, machine: Machine) -> None:
    old = machine.key
    with client(machines, machine, host_key=old) as session:
        new = machine.new_host_key()
        assert new != old
        assert ran(session, "echo lives on") == (0, "lives on")
    with pytest.raises(paramiko.BadHostKeyException):
        client(machines, machine, host_key=old)
    client(machines, machine, host_key=new).close()


def served(machine: Machine) -> int | None:
    """Ask the machine's container over its published port; nothing when there is silence."""
    try:
        with urllib.request.urlopen(f"http://{machine.address}:8000/", timeout=1) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except TimeoutError:
        return None
    except urllib.error.URLError as error:
        if isinstance(error.reason, TimeoutError):
            return None
        raise  # a refusal is not silence


def test_a_cut_drops_what_goes_to_sshd_and_to_containers(machines: Fleet, machine: Machine) -> None:
    machine.load(BUSYBOX)
    machine.sh("docker run --detach --name web --publish 8000:8000 $1 busybox httpd -f -p 8000", BUSYBOX)
    assert served(machine) == 404
    key = machine.key
    machine.cut_off()
    assert served(machine) is None
    with pytest.raises(TimeoutError):
        client(machines, machine, host_key=key)
    machine.heal()
    client(machines, machine).close()
    assert served(machine) == 404

    # its containers outlive the engine, by TERM and by KILL
    machine.stop_engine()
    assert served(machine) == 404
    machine.start_engine()
    machine.kill("dockerd")
    machine.kill("containerd")
    assert served(machine) == 404
    machine.start_engine()
    assert machine.sh("docker ps --format '{{.Names}}'") == "web\n"
    machine.sh("docker rm --force web")


def test_a_small_disk_is_full_soon(machine: Machine) -> None:
    fill = "head -c 3000000 /dev/zero >/srv/full"
    with machine.small_disk("/srv"):
        assert "No space left" in machine.exec("sh", "-c", f"{fill} || true").stderr
    machine.sh(f"{fill} && rm /srv/full")


def test_a_gateway_forwards_to_one_place_and_runs_nothing(machines: Fleet, machine: Machine) -> None:
    gateway = machines.gateway(opens=[f"{machine.address}:22"])
    with client(machines, gateway, "jump") as jump:
        assert ran(jump, "id")[0] != 0
        transport = jump.get_transport()
        assert transport is not None
        channel = transport.open_channel("direct-tcpip", (machine.address, 22), ("127.0.0.1", 0))
        with client(machines, machine, through=channel) as session:
            assert ran(session, "echo $SSH_CONNECTION")[1].startswith(gateway.address)
        with pytest.raises(paramiko.ChannelException, match="prohibited"):
            transport.open_channel("direct-tcpip", (machine.address, 80), ("127.0.0.1", 0))
    with pytest.raises(paramiko.AuthenticationException):
        client(machines, gateway, "root")
    machines.end(gateway)
