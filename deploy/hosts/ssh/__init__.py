"""Machines over SSH as hosts. Only this package imports fabric and paramiko."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from deploy.hosts.sections import Machine, Server, Ssh
from deploy.hosts.ssh.host import SshHost
from deploy.hosts.ssh.link import GATEWAY, Link

__all__ = ["SshHost", "hosts"]

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # what fails is told by our own errors


def hosts(
    servers: Mapping[str, Server], ssh: Ssh, env: str, *, gateway: Machine | None = None, fronts: Mapping[str, str]
) -> Mapping[str, SshHost]:  # fmt: skip
    """Make the hosts of an environment, by name; one connection to the gateway serves them all.

    `fronts` names, for a host without an edge, the one whose edge serves what runs there.
    """
    link = Link(GATEWAY, gateway, ssh, env) if gateway else None
    by_name = {name: SshHost(name, machine, ssh, env, link) for name, machine in sorted(servers.items())}
    for name, front in fronts.items():
        by_name[name].front = by_name[front]
    return by_name
