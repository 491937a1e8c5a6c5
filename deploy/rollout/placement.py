"""Which services run on which host, and how those find data that is elsewhere. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from deploy.compose import Model, Service
from deploy.errors import Refused
from deploy.settings import Server

# the role that a host must have for a service's role
HOST_ROLE = {"web": "app", "worker": "worker", "scheduler": "worker", "data": "data", "edge": "edge"}


def place(known: Model, machines: Mapping[str, Server]) -> dict[str, Model]:
    """Give each host the services that its roles ask for; raise Refused, all reasons at once, where that cannot work."""
    hosts = {service.name: hosts_of(service, known, machines) for service in known.services}
    mistakes = [f"no host has the role {HOST_ROLE.get(s.role, 'app')}, which {s.name} needs" for s in known.services if not hosts[s.name]]
    apart = [name for name, machine in machines.items() if "app" in machine.roles and "edge" not in machine.roles]
    mistakes += [f"{name} has the role app without edge" for name in apart]
    far = away(known, machines)
    for name, (host, port) in far.items():
        mistakes += [] if machines[host].private else [f"hosts.{host}.private is missing: {name} runs there, and other hosts must reach it"]
        mistakes += [] if port else [f"service {name}: x-deploy.port is missing, by which other hosts reach it"]
    if mistakes:
        raise Refused("\n    ".join(["the services cannot be placed on the hosts:", *mistakes]), where="[hosts] and the compose files",
                      then="mend that, then inv plan")  # fmt: skip
    first = {s.name: hosts[s.name][0] for s in known.services}
    return {name: on(known, name, hosts, first, {d: (h, machines[h].private) for d, (h, _) in far.items()}) for name in machines}


def away(known: Model, machines: Mapping[str, Server]) -> dict[str, tuple[str, int | None]]:
    """Return the data services that other hosts must reach: the host that has each, and its port."""
    shared = known.of("data") if len(machines) > 1 else ()
    return {service.name: (host, service.deploy.port) for service in shared for host in hosts_of(service, known, machines)[:1]}


def hosts_of(service: Service, known: Model, machines: Mapping[str, Server]) -> list[str]:
    """Name the hosts of one service: data and the scheduler have one, a job runs where the edge shares a volume with it, or once."""
    if service.role == "job":
        shared = set(volumes(service)) & {name for edge in known.of("edge") for name in volumes(edge)}
        found = [name for name, machine in sorted(machines.items()) if ("edge" if shared else "app") in machine.roles]
        return found if shared else found[:1]
    found = [name for name, machine in sorted(machines.items()) if HOST_ROLE[service.role] in machine.roles]
    return found[:1] if service.role in ("data", "scheduler") else found


def on(
    known: Model, host: str, hosts: Mapping[str, list[str]], first: Mapping[str, str], away: Mapping[str, tuple[str, str]]
) -> Model:  # fmt: skip
    """Return the model as one host has it: its services, with the addresses of data elsewhere; one host alone migrates."""
    services = []
    for service in known.services:
        if host not in hosts[service.name]:
            continue
        spec, deploy = dict(service.spec), service.deploy
        if deploy.migrate and first[service.name] != host:
            deploy = deploy.model_copy(update={"migrate": ()})
        if away.get(service.name, ("", ""))[0] == host:
            spec["ports"] = [*spec.get("ports", []), f"{away[service.name][1]}:{deploy.port}:{deploy.port}"]
        others = {name: private for name, (there, private) in away.items() if there != host}
        if others:
            spec["extra_hosts"] = [*listed(spec.get("extra_hosts")), *(f"{name}={private}" for name, private in sorted(others.items()))]
        services.append(replace(service, deploy=deploy, spec=spec))
    used_networks = {name for service in services for name in service.networks}
    used_volumes = {name for service in services for name in volumes(service)}
    return Model(
        tuple(services), {name: spec for name, spec in known.networks.items() if name in used_networks},
        {name: spec for name, spec in known.volumes.items() if name in used_volumes},
    )  # fmt: skip


def volumes(service: Service) -> Iterable[str]:
    """Name the volumes that a service mounts."""
    return (mount["source"] for mount in service.spec.get("volumes", []) if mount.get("type") == "volume" and mount.get("source"))


def listed(extra: object) -> list[str]:
    """Return extra_hosts as a list, however the file has them."""
    return [f"{name}={address}" for name, address in extra.items()] if isinstance(extra, dict) else list(extra or [])  # type: ignore[call-overload]
