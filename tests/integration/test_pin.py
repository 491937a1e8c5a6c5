"""`inv hosts.pin` and `inv hosts.check`, against a real sshd behind another."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import doctor
from deploy.config import pin
from deploy.config.loader import load
from deploy.config.settings import ROOT
from deploy.hosts.ssh import SshHost
from tests.support import sshd
from tests.support.site import free_port
from tests.support.sshd import Sshd, refused

TOML = """# what stands here stays
domain = "shop.test"  # this too

[gateway]
address = "127.0.0.1"
port = {gateway}

[hosts.app1]  # the first one
roles = ["app", "edge"]
address = "127.0.0.1"
port = {app1}
"""


@pytest.fixture
def checkout(server: Sshd, gateway: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment whose machines have no pinned keys."""
    folder = tmp_path / "checkout" / "deploy" / "environments"
    folder.mkdir(parents=True)
    (folder.parent / "app.toml").write_text('app = "shop"\ncompose = ["c.yml"]\n')
    (folder / "prod.toml").write_text(TOML.format(gateway=gateway.port, app1=server.port))
    monkeypatch.setenv("OPS_ROOT", str(tmp_path / "checkout"))
    monkeypatch.setenv("OPS_SSH__KEY_FILE", str(server.folder / "user"))
    return folder / "prod.toml"


def inv(*words: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "invoke", *words, "--env=prod"]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def printed(server: Sshd) -> str:
    """The fingerprint of its host key, as ssh-keygen prints it."""
    return subprocess.run(
        ["ssh-keygen", "-lf", server.folder / "host.pub"], capture_output=True, text=True
    ).stdout.split()[1]


def test_keys_are_pinned_and_the_file_stays_as_it_is(server: Sshd, gateway: Sshd, checkout: Path) -> None:
    before, people = checkout.read_text(), server.connections
    asked = inv("hosts.pin")
    assert (asked.returncode, checkout.read_text()) == (2, before), "nobody can be asked here"
    assert printed(gateway) in asked.stderr
    done = inv("hosts.pin", "--yes")
    assert done.returncode == 0, done.stderr
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in done.stderr
    assert printed(server) in done.stderr
    assert server.connections == people, "nobody logs in"
    lines = checkout.read_text().splitlines()
    assert [line for line in lines if not line.startswith("key = ")] == before.splitlines()
    settings = load("prod")
    assert (settings.gateway and settings.gateway.key, settings.hosts["app1"].key) == (gateway.key, server.key)
    again = inv("hosts.pin", "app1")
    assert again.returncode == 0
    assert "app1 (127.0.0.1" in again.stderr
    assert "unchanged" in again.stderr
    assert checkout.read_text().splitlines() == lines


def test_a_changed_key_shows_both_and_wants_the_name(
    server: Sshd, gateway: Sshd, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inv("hosts.pin", "--yes").returncode == 0
    checkout.write_text(checkout.read_text().replace(server.key, gateway.key))
    done = inv("hosts.pin")
    assert done.returncode == 2
    assert "Is this the key of app1" in done.stderr
    for fingerprint in (printed(server), printed(gateway)):
        assert fingerprint in done.stderr
    words: list[str] = []
    monkeypatch.setattr("deploy.core.console.confirm", lambda _, **options: words.append(options["word"]))
    pin.pin(load("prod"), ["app1"], yes=False)
    assert words == ["app1"]
    assert load("prod").hosts["app1"].key == server.key


def test_what_is_no_key_is_replaced(checkout: Path) -> None:
    checkout.write_text(checkout.read_text().replace("[hosts.app1]", '[hosts.app1]\nkey = "ssh-ed25519 AAAA"'))
    done = inv("hosts.pin", "--yes")
    assert (done.returncode, "pinned is no public host key: ssh-ed25519 AAAA" in done.stderr) == (0, True), done.stderr


def test_a_host_that_is_not_there_or_not_known(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = inv("hosts.pin", "ap1")
    assert done.returncode == 2
    assert "one of: gateway, app1" in done.stderr
    monkeypatch.setenv("OPS_GATEWAY__PORT", "1")
    done = inv("hosts.pin", "--yes")
    assert done.returncode == 2
    assert "nothing listens at 127.0.0.1:1 of gateway" in done.stderr


def test_one_that_is_down_keeps_no_other_from_being_pinned(
    server: Sshd, gateway: Sshd, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.write_text(checkout.read_text() + f'[hosts.app0]\naddress = "127.0.0.1"\nport = {free_port()}\n')
    done = inv("hosts.pin", "--yes")
    assert done.returncode == 1, done.stderr
    assert "does not reach 127.0.0.1" in done.stderr
    assert "pinned: gateway, app1" in done.stderr
    assert load("prod").hosts["app1"].key == server.key
    assert inv("hosts.pin", "--yes").returncode == 2, "nothing was written"


def test_a_key_of_another_kind_that_the_host_has_as_well_is_unchanged(tmp_path: Path, checkout: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-N", "", "-f", str(tmp_path / "rsa")], check=True)
    rsa = " ".join((tmp_path / "rsa.pub").read_text().split()[:2])
    with sshd.running(tmp_path, f"HostKey {tmp_path}/rsa\n") as both:
        checkout.write_text(
            'domain = "shop.test"\n' + f'[hosts.app1]\naddress = "127.0.0.1"\nport = {both.port}\nkey = "{rsa}"\n'
        )
        done = inv("hosts.pin")
        assert (done.returncode, "unchanged" in done.stderr) == (0, True), done.stderr


def test_an_environment_without_hosts_is_not_called_well() -> None:
    done = subprocess.run([sys.executable, "-m", "invoke", "hosts.check"], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, "local has no hosts" in done.stderr) == (2, True), done.stderr


def test_check_says_what_each_host_has(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = inv("hosts.check", "--json")
    assert (done.returncode, [found["asked"] for found in json.loads(done.stdout)]) == (3, ["app1: connection"])
    assert "inv hosts.pin --env=prod" in done.stdout
    assert inv("hosts.pin", "--yes").returncode == 0
    done = inv("hosts.check", "--json")
    found = {finding["asked"]: finding["result"] for finding in json.loads(done.stdout)}
    looked = (
        "connection",
        "flock",
        "Docker engine",
        "docker compose",
        "state folder",
        "disk",
        "clock",
        "forwarding",
        "image store",
        "live restore",
    )
    assert list(found) == [f"app1: {what}" for what in looked]
    assert (set(found.values()), done.returncode) == ({"PASS"}, 0), done.stdout


def test_a_clock_that_is_wrong_is_found(remote: SshHost, monkeypatch: pytest.MonkeyPatch) -> None:
    doctor.clock(remote)
    monkeypatch.setattr("deploy.doctor.time.time", lambda: 1000.0)
    assert "clock differs" in refused(lambda: doctor.clock(remote))
