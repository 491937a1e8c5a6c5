"""Machines over SSH as hosts. Only this package imports fabric and paramiko."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from deploy.hosts.ssh.host import SshHost
from deploy.hosts.ssh.link import GATEWAY, Link
from deploy.settings import Settings

__all__ = ["SshHost", "hosts"]

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # what fails is told by our own errors


def hosts(settings: Settings) -> Mapping[str, SshHost]:
    """Make the hosts of an environment, by name; one connection to the gateway serves them all."""
    gateway = Link(GATEWAY, settings.gateway, settings) if settings.gateway else None
    made = {name: SshHost(name, machine, settings, gateway) for name, machine in sorted(settings.hosts.items())}
    for name, front in settings.fronts.items():
        made[name].front = made[front]
    return made
