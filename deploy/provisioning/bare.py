"""What a server is before it is provisioned, and why that may be refused; nothing is changed."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from deploy.config.environment import remote_hosts
from deploy.config.sections import Provision
from deploy.config.settings import Settings
from deploy.core.errors import Reasons, Refused
from deploy.core.shell import query
from deploy.hosts.sections import Server
from deploy.hosts.ssh import SshHost

SYSTEMS = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04", "26.04")}
ASK = """. /etc/os-release
echo "connection=${SSH_CONNECTION-}"
echo "system=$ID"
echo "version=${VERSION_ID-}"
echo "uid=$(id -u)"
sudo -n true 2>/dev/null && echo "sudo=yes"
[ ! -d /run/systemd/system ] || echo "systemd=yes"
[ ! -e /etc/bookreader-ops/provisioned ] || echo "provisioned=yes"
echo "listens=$(awk '$4 == "0A" {printf "%s ", $2}' /proc/net/tcp /proc/net/tcp6 2>/dev/null)"
echo "keys=$(grep -csE '(ssh-|ecdsa-|sk-)[a-z0-9@.-]+ AAAA' ~/.ssh/authorized_keys)"
"""


@dataclass(frozen=True)
class Bare:
    """A server as it was observed: its system, the account that it lets in, and the way that this one came."""

    name: str
    login: str
    system: str
    version: str
    root: bool
    systemd: bool
    operator: str
    ssh_port: int
    provisioned: bool = False
    listens: tuple[tuple[str, int], ...] = ()  # addresses with ports
    keys: int = 1  # that this account lets in


def parse(name: str, login: str, printed: str) -> Bare:
    """Read what the server printed. Pure."""
    answers = dict(line.split("=", 1) for line in printed.splitlines() if "=" in line)
    operator, _, _, port = [*answers["connection"].split(), "", "", "", "0"][:4]
    return Bare(
        name,
        login,
        answers["system"],
        answers["version"],
        answers["uid"] == "0" or "sudo" in answers,
        "systemd" in answers,
        operator,
        int(port),
        "provisioned" in answers,
        tuple(socket_of(entry) for entry in answers.get("listens", "").split()),
        int(answers.get("keys") or 0),
    )


def socket_of(entry: str) -> tuple[str, int]:
    """Read an address of /proc/net/tcp or tcp6, as in 0100007F:1538: words of four bytes, the last byte first. Pure."""
    address, _, port = entry.partition(":")
    words = [bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8)]
    return str(ip_address(b"".join(words))), int(port, 16)


def observe(settings: Settings, name: str, login: str) -> Bare:
    """Ask a server, as the account that releases are deployed with, or as `login` where that is not let in yet."""
    found: list[Bare] = []
    refused: list[Refused] = []
    for user in dict.fromkeys((account(settings, name), login)):
        host = as_user(settings, name, user)
        try:
            found.append(parse(name, user, host.run(query("sh", "-c", ASK))))
        except Refused as error:
            refused.append(error)
        finally:
            host.close()
        if (found and found[-1].root) or (refused and refused[-1].slug != "login-refused"):
            break
    if found:
        return found[-1]
    raise refused[-1]


def account(settings: Settings, name: str) -> str:
    """Return the account that releases are deployed with on a host."""
    return settings.hosts[name].user or settings.ssh.user


def as_user(settings: Settings, name: str, user: str) -> SshHost:
    """Return a host as one account reaches it, without sudo."""
    servers = {**settings.hosts, name: settings.hosts[name].model_copy(update={"user": user})}
    ssh = settings.ssh.model_copy(update={"sudo": False})
    return remote_hosts(settings.model_copy(update={"hosts": servers, "ssh": ssh}))[name]


def require(settings: Settings, servers: Sequence[Bare]) -> None:
    """Raise Refused, with all reasons, where a server cannot be provisioned."""
    reasons = Reasons()
    for server in servers:
        with reasons:
            require_system(server)
        with reasons:
            require_root(server)
        with reasons:
            require_way_in(server, settings)
    reasons.refuse()


def require_system(server: Bare) -> None:
    """Refuse a system that the roles were not written for. Pure."""
    if server.version not in SYSTEMS.get(server.system, ()):
        what = f"{server.name} runs {server.system} {server.version}, which cannot be provisioned"
        then = "install Debian 12 or 13 there, or set it up by hand and use inv hosts.check"
        raise Refused(what, where=server.name, then=then, slug="system-unsupported")
    if not server.systemd:
        what = f"{server.name} is not run by systemd"
        raise Refused(what, where=server.name, then="a server that boots with systemd", slug="system-unsupported")


def require_root(server: Bare) -> None:
    """Refuse an account that can neither act as root nor become it. Pure."""
    if not server.root:
        line = shlex.quote(f"{server.login} ALL=(ALL) NOPASSWD: ALL")
        then = f"--login=ACCOUNT of one that may; or there, as root: echo {line} >/etc/sudoers.d/{server.login}"
        what = f"{server.login} is not root on {server.name}, and sudo asks it for a password"
        raise Refused(what, where=server.name, then=then, slug="sudo-refused")


def require_way_in(server: Bare, settings: Settings) -> None:
    """Refuse firewall rules under which this operator could not come back. Pure."""
    if not admits(settings.provision, settings.hosts, server.operator):
        what = f"the firewall would lock you out of {server.name}: you come from {server.operator}"
        then = f'add it to provision.ssh_from in {settings.env}.toml: ssh_from = ["{server.operator}", ...]'
        raise Refused(what, where=server.name, then=then, slug="firewall-locks-out")


def losses(settings: Settings, server: Bare, open_ports: Collection[int]) -> list[str]:
    """Say what a server that is set up for the first time loses: open ports, and who came in as root. Pure."""
    if server.provisioned:
        return []
    machine, name = settings.hosts[server.name], account(settings, server.name)
    if server.ssh_port not in {port for _, port in server.listens}:
        return [f"{server.name}: it does not show what listens: all but SSH and the edge is closed to the outside"]
    ports = {port for address, port in server.listens if is_outside(address, machine.private)}
    closed = ", ".join(str(port) for port in sorted(ports - {server.ssh_port, machine.port, *open_ports}))
    lost = [
        f"{server.name}: these ports listen and are closed to the outside: {closed}; provision.ports keeps one open"
    ]
    lost = lost if closed else []
    if server.login == "root" and name != "root" and server.keys > 1:
        lost += [f"{server.name}: root lets {server.keys} keys in, and will let in none; {name} gets yours alone"]
    return lost


def is_outside(address: str, private: str) -> bool:
    """Tell whether an address is reached by others than this host and its private network. Pure."""
    return address.removeprefix("::ffff:") != private and not ip_address(address).is_loopback


def admits(provision: Provision, servers: dict[str, Server], operator: str) -> bool:
    """Tell whether an address may reach SSH under the rules of the settings. Pure."""
    if not provision.ssh_from:
        return True
    try:
        address = ip_address(operator.partition("%")[0].removeprefix("::ffff:"))
    except ValueError:
        return False  # the server does not say where the operator comes from
    return any(address in ip_network(network) for network in provision.ssh_from)
