"""What a person is told to type to run something on a host."""

from __future__ import annotations

from typing import Any

import pytest

from deploy.hosts.ssh import Link, SshHost
from deploy.settings import Machine, Server
from tests.samples import settings


@pytest.mark.parametrize(
    ("server", "ssh", "gateway", "typed"),
    [
        ({}, {}, False, "ssh root@192.0.2.1 docker logs x"),
        ({"port": 2222, "user": "me"}, {"sudo": True}, False, "ssh -p 2222 me@192.0.2.1 sudo docker logs x"),
        ({}, {"user": "deploy"}, True, "ssh -J jump@192.0.2.9:22 deploy@192.0.2.1 docker logs x"),
    ],
)
def test_a_line_to_copy(server: dict[str, Any], ssh: dict[str, Any], gateway: bool, typed: str) -> None:
    known = settings(ssh=ssh)
    hop = Link("gateway", Machine(address="192.0.2.9", user="jump"), known) if gateway else None
    assert SshHost("app1", Server.model_validate({"address": "192.0.2.1", **server}), known, hop).typed("docker logs x") == typed
