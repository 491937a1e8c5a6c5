"""A bare Debian 12 with systemd, provisioned over SSH, compared, changed by hand, and looked at from outside.

Kernel, clock and swap are this machine's own: what a container has none of is left out, and said. The way to a
release that serves is in tests/nights/test_from_nothing.py, Debian 13 and a play that locks itself out in
tests/nights/test_provisioning.py.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from deploy.config.environment import remote_hosts
from deploy.core.errors import Refused
from deploy.core.poll import wait_until
from deploy.core.shell import query
from deploy.hosts.sections import Machine, Server, Ssh
from deploy.images import bases
from deploy.provisioning import inventory
from deploy.provisioning.bare import as_user
from tests.machines.bare import BareServer, bare_server
from tests.support import samples, sshd
from tests.support.site import ROOT, Done, Site, make_tiny

EDGE, OTHER = 8080, 9999
SERVED = "docker run --detach --name=$1 --publish=0.0.0.0:$2:80 $3 busybox httpd -f -p 80"
OPEN = r"PasswordAuthentication yes\nPermitRootLogin yes"  # as some providers have it, and sshd takes what comes first
LIVE = "nft list table inet ops; cat /etc/docker/daemon.json; ls -l --time-style=full-iso /etc/bookreader-ops"


@dataclass(frozen=True)
class Provisioned:
    """A server, the site whose environment names it, and what the first run printed."""

    server: BareServer
    site: Site
    first: Done

    def inv(self, *words: str, code: int = 0) -> Done:
        """Run `inv` on the server."""
        return self.site.inv(*words, "--env=staging", code=code, OPS_EDGE__PORT=str(EDGE))

    def opens(self, port: int) -> bool:
        """Tell whether a new connection from here, another network, is taken and served."""
        try:
            with socket.create_connection((self.server.address, port), 1) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                return bool(connection.recv(1))
        except OSError:
            return False


def name_server(site: Site, server: BareServer, key: Path, more: str = "") -> None:
    """Write the environment's file."""
    ssh = f'[ssh]\nuser = "deploy"\nkey_file = "{key}"\n'
    edge = '[edge]\naddress = "0.0.0.0"\n[build]\nbases = "debian"\n[ship]\nby = "ssh"\n'
    host = f'[hosts.app1]\naddress = "{server.address}"\nkey = "{server.key}"\n'
    site.write("deploy/environments/staging.toml", f'domain = "localhost"\n{edge}{ssh}{more}\n{host}')
    site.commit("a host")


def load_busybox(server: BareServer) -> str:
    """Bring an image that can serve onto a server; return its tag."""
    busybox = bases.read(ROOT)["busybox"].local_tag
    save = f"docker save {busybox} | docker exec --interactive {server.container} docker load"
    subprocess.run(["sh", "-c", save], check=True, capture_output=True)
    return busybox


@pytest.fixture(scope="module")
def provisioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provisioned]:
    """A bare server, provisioned."""
    folder = tmp_path_factory.mktemp("provisioned")
    sshd.key(folder / "user")
    site = make_tiny(folder)
    with bare_server(folder / "user") as server:
        name_server(site, server, folder / "user")
        server.sh(f"sed -i '1i {OPEN}' /etc/ssh/sshd_config")
        made = Provisioned(server, site, Done(0, "", ""))
        yield replace(made, first=made.inv("hosts.provision", "--json"))
    site.sweep()


def test_a_second_run_changes_nothing(provisioned: Provisioned) -> None:
    (first,) = provisioned.first.document["hosts"]
    assert "Install the engine's packages" in first["changed"]
    assert [note.partition(":")[0] for note in first["notes"]] == ["clock", "swap", "kernel"]
    steps = [line.split()[1] for line in provisioned.first.stderr.splitlines() if line.startswith(" ok")]
    assert steps == ["reach", "engine", "system", "account", "sshd", "firewall"]
    began = time.monotonic()
    (second,) = provisioned.inv("hosts.provision", "--json").document["hosts"]
    assert second["changed"] == []
    assert time.monotonic() - began < 60


def test_keys_only_no_root_and_the_account_deploys(provisioned: Provisioned) -> None:
    """Also as the jump host of another, which is itself here."""
    server, key = provisioned.server, provisioned.site.folder / "user"
    settings = samples.settings(
        ssh=Ssh(user="deploy", key_file=key),
        gateway=Machine(address=server.address, key=server.key),
        hosts={"app1": Server(address="127.0.0.1", key=server.key)},
    )
    host = remote_hosts(settings)["app1"]
    assert host.run(query("docker", "version", "--format", "{{.Server.Version}}")) >= "26"
    host.close()
    with pytest.raises(Refused) as refused:
        as_user(settings, "app1", "root").run(query("true"))
    assert refused.value.slug == "login-refused"
    effective = provisioned.server.sh("sshd -T").splitlines()
    assert {"permitrootlogin no", "passwordauthentication no", "allowtcpforwarding local"} <= {*effective}
    groups = provisioned.server.sh("id --name --groups deploy").split()
    assert "docker" in groups
    assert provisioned.server.sh(f"stat --format=%U /var/lib/{provisioned.site.app}-staging").strip() == "deploy"
    updates = provisioned.server.sh("unattended-upgrade --dry-run --debug 2>&1 | head -40")
    assert "codename=bookworm-security,label=Debian-Security" in updates, "base-files of Debian 13 came with the engine"


def test_what_is_published_to_the_world_is_closed_and_the_edge_is_open(provisioned: Provisioned) -> None:
    """Docker's published ports pass by the rules of most firewalls."""
    busybox = load_busybox(provisioned.server)
    for name, port in (("edge", EDGE), ("other", OTHER)):
        provisioned.server.sh(SERVED, name, str(port), busybox)
    assert wait_until(lambda: provisioned.opens(EDGE), 60)
    assert not provisioned.opens(OTHER)
    provisioned.server.sh("nft insert rule inet ops forward accept")
    assert wait_until(lambda: provisioned.opens(OTHER), 60), "it was closed by something else"
    provisioned.server.sh("bookreader-ops-firewall load")
    assert not provisioned.opens(OTHER)


def test_rules_that_nobody_confirms_are_taken_back(provisioned: Provisioned) -> None:
    """By the host's own timer; and rules that leave this operator out never come that far."""
    shut = "sed 's/dport { 22 }/dport { 2222 }/' firewall.nft >firewall.candidate; bookreader-ops-firewall try 3"
    before = provisioned.server.sh(LIVE)
    elsewhere = {"OPS_PROVISION__SSH_FROM": '["198.51.100.0/24"]', "OPS_EDGE__PORT": str(EDGE)}
    output = provisioned.site.inv("hosts.provision", "--env=staging", "--json", code=2, **elsewhere)
    assert output.document["slug"] == "firewall-locks-out"
    assert provisioned.server.sh(LIVE) == before
    provisioned.server.sh(f"cd /etc/bookreader-ops; {shut}")
    assert not provisioned.server.lets_in()
    assert wait_until(provisioned.server.lets_in, 30)
    provisioned.server.sh("bookreader-ops-firewall keep", code=1)
    provisioned.server.sh("rm /etc/bookreader-ops/firewall.candidate; bookreader-ops-firewall differs")


def test_drift_is_reported_and_left_alone(provisioned: Provisioned) -> None:
    provisioned.server.sh("nft insert rule inet ops input tcp dport 7777 accept")
    provisioned.server.sh('sed -i \'s/"live-restore": true/"live-restore": false/\' /etc/docker/daemon.json')
    before = provisioned.server.sh(LIVE)
    output = provisioned.inv("hosts.check", "--json", code=3)
    (drift,) = (check for check in output.document if check["result"] != "PASS")
    tasks = [line for line in drift["evidence"].splitlines() if not line.startswith(" ")]
    assert (drift["asked"], drift["result"]) == ("app1: provisioning", "FAIL")
    engine = ["Write daemon.json", "Reload the engine", "Restart the engine"]
    assert tasks == [*engine, "Compare the firewall in force"], "no more than what was changed by hand"
    assert '-    "live-restore": false' in drift["evidence"]
    assert "+\t\ttcp dport 7777 accept" in drift["evidence"]
    assert provisioned.server.sh(LIVE) == before


def test_no_other_host_key_than_the_pinned_one_is_accepted(tmp_path: Path) -> None:
    """By OpenSSH too, as Ansible has it, of hosts and of the gateway that leads to them."""
    sshd.key(tmp_path / "other")
    wrong = " ".join((tmp_path / "other.pub").read_text().split()[:2])
    with sshd.running(tmp_path / "front") as front, sshd.running(tmp_path / "app1") as app1:
        (tmp_path / "front/user.pub").write_bytes((tmp_path / "app1/user.pub").read_bytes())
        found = {}
        for keys in ((front.key, app1.key), (front.key, wrong), (wrong, app1.key)):
            made = app1.settings(tmp_path, hosts={"app1": app1.machine(key=keys[1])}, gateway=front)
            assert made.gateway
            settings = made.model_copy(update={"gateway": made.gateway.model_copy(update={"key": keys[0]})})
            (tmp_path / "known_hosts").write_text(inventory.known_hosts(settings))
            (tmp_path / "ssh_config").write_text(inventory.ssh_config(settings, tmp_path))
            ssh = ["ssh", "-F", str(tmp_path / "ssh_config"), "app1", "true"]
            found[keys] = subprocess.run(ssh, stdin=subprocess.DEVNULL, capture_output=True, timeout=30).returncode
        assert [*found.values()] == [0, 255, 255]
        assert front.connections == 2, "the way leads through the gateway"
