"""What Ansible is given: servers and their variables, the pinned host keys, how they are reached. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from deploy.config.settings import Settings
from deploy.core.errors import Refused
from deploy.hosts.sections import Machine, Server, Ssh
from deploy.hosts.ssh.link import GATEWAY
from deploy.provisioning.bare import Bare, account

# neither the person's own settings nor a host key that was not pinned
COMMON = """Host *
    StrictHostKeyChecking yes
    UserKnownHostsFile "{folder}/known_hosts"
    GlobalKnownHostsFile /dev/null
    UpdateHostKeys no
    CheckHostIP no
    PasswordAuthentication no
    KbdInteractiveAuthentication no
    ConnectTimeout {connect_within:.0f}
    ServerAliveInterval {keepalive:.0f}
    ServerAliveCountMax 3
"""
ONE = """Host {name}
    HostName {machine.address}
    Port {machine.port}
    User {user}
    HostKeyAlias {name}
"""


def known_hosts(settings: Settings) -> str:
    """Render the one host key that each machine may show, under its name; raise Refused where one is not pinned."""
    missing = [name for name, machine in machines(settings).items() if not machine.key]
    if missing:
        what = f"no pinned host key, and no other is accepted: {', '.join(missing)}"
        file = f"{settings.env}.toml"
        raise Refused(what, where=file, then=f"inv hosts.pin --env={settings.env}", slug="no-host-key")
    return "".join(f"{name} {machine.key}\n" for name, machine in machines(settings).items())


def machines(settings: Settings) -> dict[str, Machine]:
    """Return every machine that is connected to, the gateway first."""
    return {**({GATEWAY: settings.gateway} if settings.gateway else {}), **settings.hosts}


def ssh_config(settings: Settings, folder: Path) -> str:
    """Render how each machine is reached."""
    blocks = [block(name, machine, settings.ssh) for name, machine in machines(settings).items()]
    if settings.gateway:
        blocks += [f"Host {' '.join(settings.hosts)}\n    ProxyJump {GATEWAY}\n"]
    ssh = settings.ssh
    common = COMMON.format(folder=folder, connect_within=max(1, ssh.connect_within), keepalive=max(1, ssh.keepalive))
    return "\n".join([*blocks, common])


def block(name: str, machine: Machine, ssh: Ssh) -> str:
    """Render how one machine is reached, and by which key."""
    key = f'    IdentityFile "{ssh.key_file.expanduser()}"\n    IdentitiesOnly yes\n' if ssh.key_file else ""
    return ONE.format(name=name, machine=machine, user=machine.user or ssh.user) + key


def inventory(settings: Settings, servers: Iterable[Bare], keys: Sequence[str], folder: Path) -> dict[str, Any]:
    """Make the inventory: a group of all servers, each with its variables."""
    control = f"-o ControlMaster=auto -o ControlPersist=30 -o ControlPath={shlex.quote(str(folder / 'control-%C'))}"
    common = {
        "ansible_ssh_args": f"-F {shlex.quote(str(folder / 'ssh_config'))} {control}",
        "ansible_host_key_checking": True,
        "account_state_dir": str(settings.state_dir),
        "account_keys": [*keys],
        "system_swap_gb": settings.provision.swap_gb,
        "firewall_ssh_from": settings.provision.ssh_from,
    }
    hosts = {server.name: variables(settings, server) for server in servers}
    return {"all": {"vars": common, "hosts": hosts}}


def variables(settings: Settings, server: Bare) -> dict[str, Any]:
    """Return what differs between servers."""
    machine, name = settings.hosts[server.name], account(settings, server.name)
    return {
        "login": server.login,
        "account_name": name,
        "sshd_root_login": "prohibit-password" if name == "root" else "no",
        "firewall_ssh_ports": sorted({machine.port, server.ssh_port}),
        "firewall_public_ports": public_ports(settings, machine),
        "firewall_private": machine.private,
        "firewall_peers": sorted(peers(settings, server.name)),
    }


def public_ports(settings: Settings, machine: Server) -> list[int]:
    """Return the TCP ports that are open to everybody besides SSH."""
    open_edge = "edge" in machine.roles and not settings.edge.address.startswith(("127.", "::1", "[::1"))
    edge = [settings.edge.port, *([settings.edge.tls_port] if settings.tls.by else [])]
    return sorted({*(edge if open_edge else []), *settings.provision.ports})


def peers(settings: Settings, name: str) -> set[str]:
    """Return where the environment's other hosts come from on the private network."""
    return {machine.private for other, machine in settings.hosts.items() if other != name and machine.private}
