"""One environment: its settings, this machine, and the hosts that it runs on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from deploy.config.loader import load
from deploy.config.settings import Settings
from deploy.core.errors import OpsError, to_ops_error
from deploy.hosts.fleet import each
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost

if TYPE_CHECKING:
    from deploy.hosts.ssh import SshHost

T = TypeVar("T")


class Environment(NamedTuple):
    """Where a command acts: by its settings, from this machine, on hosts; `local` has this machine as its only one."""

    settings: Settings
    here: LocalHost
    hosts: tuple[Host, ...]

    @property
    def machine(self) -> tuple[Settings, LocalHost]:
        """What a command needs that has nothing to do with hosts."""
        return self.settings, self.here

    @property
    def remote(self) -> bool:
        """Tell whether it runs on other machines than this one."""
        return self.hosts != (self.here,)

    @property
    def facing(self) -> Environment:
        """The same on those hosts alone that have an edge."""
        servers = self.settings.hosts
        return self._replace(
            hosts=tuple(host for host in self.hosts if not servers or "edge" in servers[host.name].roles)
        )

    def each(self, act: Callable[[Host], T], hosts: Iterable[Host] | None = None) -> dict[str, T]:
        """Do something on every host, or on some of them, several at once; return the results by the hosts' names."""
        return each(self.hosts if hosts is None else hosts, act, among=self.hosts, at_once=self.settings.ssh.parallel)

    def gather(
        self, act: Callable[[Host], T], hosts: Iterable[Host] | None = None
    ) -> tuple[dict[str, T], dict[str, OpsError]]:
        """Do something on every host, or on some.

        Return the results of those where that went well, and what failed on the others.
        """

        def tried(host: Host) -> T | OpsError:
            try:
                return act(host)
            except Exception as error:  # noqa: BLE001  # whatever it is, the other hosts must be seen
                return to_ops_error(error, host.name)

        results = self.each(tried, hosts)
        done = {name: value for name, value in results.items() if not isinstance(value, OpsError)}
        return done, {name: error for name, error in results.items() if isinstance(error, OpsError)}


def enter(env: str) -> Environment:
    """Read an environment's settings; nothing is connected to yet."""
    settings, here = load(env), LocalHost()
    return Environment(settings, here, tuple(remote_hosts(settings).values()) if settings.hosts else (here,))


def remote_hosts(settings: Settings) -> Mapping[str, SshHost]:
    """Make the hosts of an environment that are reached over SSH, by name; nothing is connected to yet."""
    from deploy.hosts import ssh

    return ssh.hosts(settings.hosts, settings.ssh, settings.env, gateway=settings.gateway, fronts=settings.fronts)
