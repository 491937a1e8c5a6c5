"""Which services run on which host, and how those find data that is elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from deploy.config.compose import Model, Service
from deploy.core.errors import refuse
from deploy.core.model import COLOUR_PORT_OFFSET
from deploy.hosts.sections import Server

# the role that a host must have for a service's role
HOST_ROLE = {
    "web": "app",
    "worker": "worker",
    "scheduler": "worker",
    "data": "data",
    "wal": "data",
    "edge": "edge",
    "monitoring": "monitoring",
    "backup": "data",
    "notify": "data",
    "certificates": "edge",
}
LAST_PORT = 65535


def place(model: Model, machines: Mapping[str, Server]) -> dict[str, Model]:
    """Give each host the services that its roles ask for; raise Refused, with all reasons, where that cannot work."""
    hosts = {service.name: hosts_of(service, model, machines) for service in model.services}
    homeless = [service for service in model.services if not hosts[service.name]]
    mistakes = [f"no host has the role {HOST_ROLE.get(s.role, 'app')}, which {s.name} needs" for s in homeless]
    mistakes += unserved(model, machines)
    far = away(model, machines)
    for name, (host, port) in far.items():
        if not machines[host].private:
            mistakes.append(f"hosts.{host}.private is missing: {name} runs there, and other hosts must reach it")
        if not port:
            mistakes.append(f"service {name}: x-deploy.port is missing, by which other hosts reach it")
    where = "[hosts] and the compose files"
    refuse(
        "the services cannot be placed on the hosts:",
        mistakes,
        where=where,
        then="fix that, then inv plan",
        slug="placement-invalid",
    )
    return {name: on(model, name, hosts, machines) for name in machines}


def unserved(model: Model, machines: Mapping[str, Server]) -> list[str]:
    """Explain why edge and app cannot be where they are: each edge has an app on its host, or one has all behind it."""
    edges = having("edge", machines)
    behind = [name for name, machine in machines.items() if {"app", "edge"} & set(machine.roles) == {"app"}]
    bare = [name for name in edges if "app" not in machines[name].roles]
    no_address = [name for name in behind if not machines[name].private]
    mistakes = [f"hosts.{name}.private is missing: the edge on another host must reach it" for name in no_address]
    if len(edges) > 1:
        reason = "has the role app without edge, and several others have one: give it one too"
        mistakes += [f"{name} {reason}" for name in behind]
        reason = "has the role edge without app: of several edges each answers from its own host"
        mistakes += [f"{name} {reason}" for name in bare]
    for service in model.web if behind else ():
        if service.replicas > 1:
            reason = "has one container on each host behind an edge elsewhere: add hosts, not replicas"
            mistakes.append(f"{service.name} {reason}")
        offset = max(COLOUR_PORT_OFFSET.values())
        if (service.deploy.port or 80) + offset > LAST_PORT:
            reason = f"its port and {offset} make more than {LAST_PORT}; let it listen on a lower one"
            mistakes.append(f"{service.name}: {reason}")
    return mistakes


def away(model: Model, machines: Mapping[str, Server]) -> dict[str, tuple[str, int | None]]:
    """Return the data services that other hosts must reach: the host that has each, and its port."""
    shared = model.of("data") if len(machines) > 1 else ()
    places = [(service, hosts_of(service, model, machines)[:1]) for service in shared]
    return {service.name: (host, service.deploy.port) for service, hosts in places for host in hosts}


def paths(model: Model, machines: Mapping[str, Server]) -> Iterator[tuple[str, str, int, tuple[str, ...]]]:
    """Yield each private way between hosts: the service, its host, the port there, and the hosts that go it."""
    for name, (owner, port) in away(model, machines).items():
        yield name, owner, int(port or 0), tuple(host for host in machines if host != owner)
    for host, own in place(model, machines).items():
        for service in own.web:
            if service.published:
                front = tuple(having("edge", machines))
                yield from (
                    (service.name, host, (service.deploy.port or 80) + more, front)
                    for more in COLOUR_PORT_OFFSET.values()
                )


def hosts_of(service: Service, model: Model, machines: Mapping[str, Server]) -> list[str]:
    """Name the hosts of one service.

    Data and the scheduler have one; a job runs where the edge shares a volume with it, or once.
    """
    if service.role == "job":
        shared = set(volumes(service)) & {name for edge in model.of("edge") for name in volumes(edge)}
        return having("edge", machines) if shared else having("app", machines)[:1]
    hosts = having(HOST_ROLE[service.role], machines)
    return hosts[:1] if service.role in ("data", "wal", "scheduler", "backup", "notify") else hosts


def having(role: str, machines: Mapping[str, Server]) -> list[str]:
    """Name the hosts that have a role."""
    return sorted(name for name, machine in machines.items() if role in machine.roles)


def on(model: Model, host: str, hosts: Mapping[str, list[str]], machines: Mapping[str, Server]) -> Model:
    """Return the model as one host has it: its services, with the addresses of what is elsewhere.

    One host alone migrates.
    """
    private = {name: machine.private for name, machine in machines.items()}
    edges = having("edge", machines)
    far = {name: owner for name, (owner, _) in away(model, machines).items()}
    services = []
    for service in model.services:
        if host not in hosts[service.name] and not (service.role == "web" and host in edges):
            continue
        spec, deploy = dict(service.spec), service.deploy
        if host not in hosts[service.name]:
            spec["scale"] = 0  # its edge names those of other hosts
        if hosts[service.name][0] != host:
            deploy = deploy.model_copy(update={"migrate": (), "migrations": ()})
        others = {name: private[there] for name, there in far.items() if there != host}
        if others:
            lines = (f"{name}={address}" for name, address in sorted(others.items()))
            spec["extra_hosts"] = [*listed(spec.get("extra_hosts")), *lines]
        fronted = hosts[service.name] if service.role == "web" else ()
        behind = tuple(private[name] for name in fronted if name not in edges)
        asked = far.get(service.name) == host or (behind and host not in edges)
        services.append(
            replace(
                service,
                deploy=deploy,
                spec=spec,
                behind=behind if host in edges else (),
                published=private[host] if asked else "",
            )
        )
    used_networks = {name for service in services for name in service.networks}
    used_volumes = {name for service in services for name in volumes(service)}
    return Model(
        tuple(services), {name: spec for name, spec in model.networks.items() if name in used_networks},
        {name: spec for name, spec in model.volumes.items() if name in used_volumes},
    )  # fmt: skip


def volumes(service: Service) -> Iterable[str]:
    """Name the volumes that a service mounts."""
    mounts = (mount for mount in service.spec.get("volumes", []) if mount.get("type") == "volume")
    return (mount["source"] for mount in mounts if mount.get("source"))


def listed(extra: Any) -> list[str]:
    """Return extra_hosts as a list, however the file has them."""
    if isinstance(extra, dict):
        return [f"{name}={address}" for name, address in extra.items()]
    return list(extra or [])
