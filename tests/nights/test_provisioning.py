"""Servers from nothing: Debian 13, no Python, operators who die or would be locked out.

The way to a site that serves is in test_from_nothing.py.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from deploy.config.environment import enter
from deploy.core.errors import OpsError
from deploy.core.poll import wait_until
from deploy.provisioning import inventory, provision
from deploy.provisioning.bare import Bare
from tests.integration.test_provisioning import EDGE, OTHER, SERVED, Provisioned, load_busybox, name_server
from tests.machines.bare import PYTHON, BareServer, bare_server
from tests.support import sshd
from tests.support.site import ROOT, Done, docker, make_tiny

ENGINE = "command -v dockerd"
UNPACKED = "ls /usr/sbin/dockerd.dpkg-new"
CUT_OFF = "ls /var/lib/dpkg/updates | grep '^[0-9]'"


@contextmanager
def bare(folder: Path, **kind: Any) -> Iterator[Provisioned]:
    """A bare server, and a site whose environment names it."""
    sshd.key(folder / "user")
    site = make_tiny(folder)
    try:
        with bare_server(folder / "user", **kind) as server:
            name_server(site, server, folder / "user", '[variables]\nBEHAVIOUR = "well"')
            yield Provisioned(server, site, Done(0, "", ""))
    finally:
        site.sweep()


@pytest.mark.parametrize(("suite", "python"), [("trixie", PYTHON), ("bookworm", ())], ids=["Debian 13", "no Python"])
def test_other_servers(tmp_path: Path, suite: str, python: tuple[str, ...]) -> None:
    """Debian 13, and one without the Python that Ansible needs."""
    with bare(tmp_path, suite=suite, python=python) as host:
        host.inv("hosts.provision")
        assert host.inv("hosts.provision", "--json").document["hosts"][0]["changed"] == []
        host.inv("hosts.check")


@contextmanager
def provisioning(host: Provisioned, until: str) -> Iterator[subprocess.Popen[str]]:
    """An operator who provisions, once the server prints something for a script; killed at the end, if alive."""
    argv = [sys.executable, "-m", "invoke", "hosts.provision", "--env=staging"]
    with subprocess.Popen(
        argv, cwd=ROOT, env=host.site.environment | {"OPS_EDGE__PORT": str(EDGE)}, start_new_session=True, text=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    ) as running:  # fmt: skip
        try:
            assert wait_until(lambda: bool(host.server.sh(until, code=None)), 300)
            yield running
        finally:
            with suppress(ProcessLookupError):
                os.killpg(running.pid, signal.SIGKILL)


def test_killed_while_the_engine_is_installed_and_run_again(tmp_path: Path) -> None:
    """The operator's machine dies in the middle of a package."""
    with bare(tmp_path) as host:
        with provisioning(host, ENGINE):
            pass
        host.inv("hosts.provision")
        assert host.inv("hosts.provision", "--json").document["hosts"][0]["changed"] == []
        host.inv("hosts.check")


def test_the_server_loses_its_power_while_the_engine_is_installed(tmp_path: Path) -> None:
    """In the middle of a package; apt-get refuses everything until dpkg has finished that."""
    with bare(tmp_path) as host:
        with provisioning(host, UNPACKED) as operator:
            docker("restart", "--time=0", host.server.container)
            _, printed = operator.communicate(timeout=300)
            assert operator.returncode == 1, printed
            assert "inv hosts.provision" in printed
        assert wait_until(host.server.lets_in, 60)
        assert host.server.sh(CUT_OFF), "nothing was cut off"
        host.inv("hosts.provision")
        assert host.inv("hosts.provision", "--json").document["hosts"][0]["changed"] == []
        host.inv("hosts.check")


def test_a_match_block_that_lets_passwords_in(tmp_path: Path) -> None:
    """Some hand wrote it into sshd's own file, and it comes before what is set up: named, until it is removed."""
    with bare(tmp_path) as host:
        host.server.sh("printf 'Match User deploy\n  PasswordAuthentication yes\n' >>/etc/ssh/sshd_config")
        failed = host.inv("hosts.provision", "--json", code=1).document
        assert failed["slug"] == "provisioning-failed"
        assert "sshd still has passwordauthentication yes for root or deploy" in failed["error"]
        host.server.sh("sed -i '/^Match/,$d' /etc/ssh/sshd_config")
        host.inv("hosts.provision")
        host.inv("hosts.check")
        host.server.sh("printf 'Match User root\n  PermitRootLogin yes\n' >>/etc/ssh/sshd_config")
        checks = host.inv("hosts.check", "--json", code=3).document
        assert "permitrootlogin yes" in " ".join(one["evidence"] for one in checks if one["result"] != "PASS")


CLOSED = 9998
LISTEN = "systemd-run --quiet --unit=listens-$1 python3 -m http.server $1 --bind ::"
LISTENS = """python3 -c 'import socket, sys; socket.create_connection(("::1", sys.argv[1])); print("yes")' $1"""
NETWORK = ("--ipv6", f"--subnet=fd00:{random.randrange(1, 0x10000):x}::/64")


def listens(server: BareServer, port: int) -> bool:
    """Tell whether a program on a server answers there."""
    return bool(server.sh(LISTENS, str(port), code=None))


def test_from_outside_by_ipv6_the_same_is_open_and_closed(tmp_path: Path) -> None:
    """A program that listens, and a port that Docker publishes."""
    with bare(tmp_path) as host:
        host.inv("hosts.provision")
        network = f"six-{host.server.container}"
        docker("network", "create", *NETWORK, network)
        try:
            docker("network", "connect", network, host.server.container)
            form = f'{{{{(index .NetworkSettings.Networks "{network}").GlobalIPv6Address}}}}'
            there = replace(host.server, address=docker("inspect", "--format", form, host.server.container).strip())
            for port in (EDGE, CLOSED):
                host.server.sh(LISTEN, str(port))
                assert wait_until(partial(listens, host.server, port), 20)
            busybox = load_busybox(host.server)
            host.server.sh(SERVED.replace("0.0.0.0:", ""), "published", str(OTHER), busybox)
            six = replace(host, server=there)
            assert wait_until(lambda: six.opens(22), 20)
            assert wait_until(lambda: six.opens(EDGE), 20)
            assert (six.opens(CLOSED), six.opens(OTHER)) == (False, False)
            host.server.sh("nft insert rule inet ops input accept")
            assert wait_until(lambda: six.opens(CLOSED) and six.opens(OTHER), 20), "they were closed by something else"
        finally:
            docker("network", "disconnect", "--force", network, host.server.container)
            docker("network", "rm", network)


def test_an_engine_with_settings_and_containers_of_its_own(tmp_path: Path) -> None:
    """Its other keys stay, and what runs on it runs on."""
    with bare(tmp_path) as host:
        host.inv("hosts.provision")
        host.server.sh('echo \'{"log-driver": "journald", "debug": true}\' >/etc/docker/daemon.json')
        host.server.sh(
            "systemctl restart docker && mkdir /tmp/root && tar -C /tmp/root -cf - . | docker import - empty"
        )
        host.inv("hosts.provision")
        joined = host.server.sh("cat /etc/docker/daemon.json")
        assert '"debug": true' in joined
        assert '"log-driver": "journald"' in joined
        assert '"live-restore": true' in joined
        assert "max-size" not in joined
        assert "containerd-snapshotter" not in joined, "the image would be hidden"
        assert "empty" in host.server.sh("docker image ls")


def test_rules_that_lock_everybody_out_are_taken_back_by_the_host(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The new connection does not come, although the rules looked right."""
    variables: Callable[..., dict[str, Any]] = inventory.variables

    def wrong(settings: Any, server: Bare) -> dict[str, Any]:
        return variables(settings, server) | {"firewall_ssh_ports": [2222]}

    with bare(tmp_path) as host, ExitStack() as stack:
        for name, value in host.site.environment.items():
            monkeypatch.setenv(name, value)
        stack.enter_context(monkeypatch.context()).setattr(inventory, "variables", wrong)
        with pytest.raises(OpsError) as error:
            provision.provision(enter("staging"), login="root")
        assert error.value.slug in ("host-unreachable", "provisioning-failed")
        assert wait_until(host.server.lets_in, 90)
        host.server.sh("bookreader-ops-firewall differs")
        stack.close()
        host.inv("hosts.provision")
        host.inv("hosts.check")
