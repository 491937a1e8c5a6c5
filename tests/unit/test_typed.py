"""What a person is told to type to run something on a host."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.core.shell import Secret, command
from deploy.hosts.sections import Machine, Server
from deploy.hosts.ssh import SshHost
from deploy.hosts.ssh.keys import host_key_file
from deploy.hosts.ssh.link import Link
from tests.support.samples import settings


@pytest.mark.parametrize(
    ("server", "ssh", "gateway", "typed"),
    [
        ({}, {}, "", "ssh root@192.0.2.1 docker logs x"),
        ({"port": 2222, "user": "me"}, {"sudo": True}, "", "ssh -p 2222 me@192.0.2.1 sudo docker logs x"),
        ({}, {"user": "deploy"}, "192.0.2.9", "ssh -J jump@192.0.2.9:22 deploy@192.0.2.1 docker logs x"),
        ({"address": "fd00::1"}, {}, "fd00::2", "ssh -J 'jump@[fd00::2]:22' root@fd00::1 docker logs x"),
        (
            {"key": "ssh-ed25519 AAAA"},
            {"key_file": "/home/me/a key"},
            "",
            "ssh -i '/home/me/a key' -o 'KnownHostsCommand=/bin/echo %H ssh-ed25519 AAAA' root@192.0.2.1 docker logs x",
        ),
    ],
)
def test_a_line_to_copy(server: dict[str, Any], ssh: dict[str, Any], gateway: str, typed: str) -> None:
    found = settings(ssh=ssh)
    hop = Link("gateway", Machine(address=gateway, user="jump"), found.ssh, found.env) if gateway else None
    assert (
        SshHost(
            "app1", Server.model_validate({"address": "192.0.2.1", **server}), found.ssh, found.env, hop
        ).command_line("docker logs x")
        == typed
    )


def test_no_secret_of_an_environment_stands_on_a_command_line_over_there() -> None:
    host = SshHost("app1", Server.model_validate({"address": "192.0.2.1"}), settings().ssh, "prod")
    assert "COUNT=2" in host.line(command("pg_dump", COUNT="2"))
    with pytest.raises(TypeError, match="PGPASSWORD: a secret would stand on a command line") as refused:
        host.line(command("pg_dump", PGPASSWORD=Secret("hunter2")))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "name"), [("ssh-ed25519", "ed25519"), ("ssh-rsa", "rsa"), ("ecdsa-sha2-nistp256", "ecdsa")]
)
def test_a_host_key_is_compared_with_the_file_of_its_kind(kind: str, name: str) -> None:
    assert host_key_file(kind) == f"/etc/ssh/ssh_host_{name}_key.pub"
