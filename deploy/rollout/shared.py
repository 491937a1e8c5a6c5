"""The data services and the edge that are there, compared with what a release's files say of them. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from deploy.core import yaml
from deploy.core.facts import Container
from deploy.core.model import COLOURS, LABEL, MADE_OF, ON_DEMAND
from deploy.edge.switch import MOUNTED

# the engine's own measure: it restarts a container that ran for so long without a delay, as one that is in no loop
LOOP_SECONDS = 10
FAILING = ("restarting", "dead", "created")
NO_NETWORK = {"host", "none"}


@dataclass(frozen=True)
class Spec:
    """One service as a rendered file has it; networks and mounts by the engine's names -> the compose file's."""

    service: str
    role: str
    made_of: str
    replicas: int
    networks: Mapping[str, str]
    mounts: Mapping[tuple[str, str], str]


def read(text: str) -> dict[str, Spec]:
    """Read the services of a rendered file, by the names that the compose files give them.

    None of a file that is gone.
    """
    if not text:
        return {}
    document = yaml.load_rendered(text)
    specs = (make_spec(spec, document) for spec in document["services"].values() if spec.get("labels"))
    return {spec.service: spec for spec in specs if spec.role not in ON_DEMAND}


def of_files(files: Mapping[str, str]) -> dict[str, Spec]:
    """Read the shared services of a release from its rendered files; none where these are gone."""
    return read(files.get("shared.yml", ""))


def without_secrets(text: str, service: str) -> dict[str, Any]:
    """Return what a rendered file says of a service but for its file of secrets, whose place is the release's."""
    spec = dict(yaml.load_rendered(text)["services"].get(service) or {})
    labels = {name: value for name, value in (spec.get("labels") or {}).items() if name != MADE_OF}
    return {**spec, "env_file": bool(spec.get("env_file")), "labels": labels}


def make_spec(spec: Mapping[str, Any], document: Mapping[str, Any]) -> Spec:
    """Read one service of a rendered file."""
    labels, volumes = spec["labels"], document.get("volumes") or {}
    networks = {document["networks"][name]["name"]: name for name in spec.get("networks") or {}}
    mounts = {}
    for mount in spec.get("volumes") or []:
        if mount["type"] in ("volume", "bind") and mount.get("source"):
            source = volumes[mount["source"]]["name"] if mount["type"] == "volume" else mount["source"]
            mounts[source, mount["target"]] = describe(mount)
    name, role = (labels[f"{LABEL}.{word}"] for word in ("service", "role"))
    return Spec(name, role, labels.get(MADE_OF, ""), spec.get("scale", 1), networks, mounts)


def describe(mount: Mapping[str, Any]) -> str:
    """Name a mount as the compose file does."""
    return f"{'volume' if mount['type'] == 'volume' else 'the folder'} {mount['source']}"


def drifted(desired: Mapping[str, Spec], there: Mapping[str, Container]) -> tuple[str, ...]:
    """Name the services whose container, whatever its state, is made of something else than is desired."""
    return tuple(name for name, c in there.items() if name in desired and c.made_of != desired[name].made_of)


def to_restore(
    desired: Mapping[str, Spec], left: Mapping[str, Spec], there: Mapping[str, Container], former: Mapping[str, str]
) -> tuple[str, ...]:  # fmt: skip
    """Name what the release that is `left` recreated, and that was as desired before: reverting may restore it.

    Whatever else differs nobody has applied yet, and going back does not apply it either. `former` is what services
    were made of when that release recreated them.
    """
    own = [name for name in drifted(desired, there) if name in left and left[name].made_of == there[name].made_of]
    return tuple(name for name in own if former.get(name) == desired[name].made_of)


def is_failing(container: Container, now: str, *, ever: bool = False) -> bool:
    """Tell whether a container fails with the definition that it has; a crash loop runs for a moment, too.

    With `ever` one restart since it was created is enough.
    """
    if container.state != "running":
        return container.state in FAILING
    return container.restarts > 0 and (ever or seconds_since(container.started, now) < LOOP_SECONDS)


def is_unwell(container: Container, now: str, *, ever: bool = False) -> bool:
    """Tell whether a container does not run, starts over and over, or is called unhealthy."""
    return container.state != "running" or container.health == "unhealthy" or is_failing(container, now, ever=ever)


def seconds_since(started: str, now: str) -> float:
    """Count the seconds between two times of one clock, as the engine and `date` write them."""
    first, second = (datetime.fromisoformat(time[:19]).replace(tzinfo=UTC) if time else None for time in (started, now))
    return (second - first).total_seconds() if first and second else float("inf")


def volume_conflicts(desired: Mapping[str, Spec], existing: Mapping[str, Container]) -> dict[str, str]:
    """Say, by container, which running data service has a volume of a service that the release calls otherwise."""
    running = [c for name, c in existing.items() if name not in desired and c.alive and c.role == "data"]
    data = [spec for spec in desired.values() if spec.role == "data"]
    reasons = {}
    for c in running:
        for spec in data:
            volumes = sorted({place for place, _ in spec.mounts} & {place for place, _ in c.mounts})
            if volumes:
                runs = f"on which {c.name}, no longer in the compose files, still runs"
                reasons[c.name] = f"{spec.service} would write to {', '.join(volumes)}, {runs}"
    return reasons


def lacking(files: Mapping[str, str], there: Mapping[str, Container]) -> dict[str, list[str]]:
    """Say what a release needs of the shared services that are there, and they lack, by service.

    The release's routes may need every mount and network that the edge is to have. Another service must share a network
    with each that is to reach it over one.
    """
    colour, lacks = read(files.get(f"{COLOURS[0]}.yml", "")).values(), dict[str, list[str]]()
    for name, spec in read(files.get("shared.yml", "")).items():
        if c := there.get(name):
            edge = [*mounts_lacking(spec, c.mounts), *networks_lacking(spec, c)]
            lacks[name] = edge if spec.role == "edge" else unreachable(spec, c, colour)
    return {name: reasons for name, reasons in lacks.items() if reasons}


def mounts_lacking(spec: Spec, mounts: Collection[tuple[str, str]]) -> list[str]:
    """Name the volumes and folders that a service is to have and that are none of its mounts.

    What it has besides harms nobody; the folder of the edge's configuration is judged by itself, in preflight.
    """
    places = [(place, name) for place, name in spec.mounts.items() if place not in mounts and place[1] != MOUNTED]
    return [f"lacks {name} at {target}" for (_, target), name in places]


def networks_lacking(spec: Spec, there: Container) -> list[str]:
    """Name the networks that a service is to be on and is not."""
    return [f"lacks network {name}" for network, name in spec.networks.items() if network not in there.networks]


def unreachable(spec: Spec, there: Container, colour: Iterable[Spec]) -> list[str]:
    """Name the services of a colour that must share a network with this one, and share none with it now."""
    desired = {one.service: {*one.networks} & {*spec.networks} for one in colour if one.replicas}
    missing = {name: networks for name, networks in desired.items() if networks and not networks & {*there.networks}}
    names = sorted({spec.networks[network] for networks in missing.values() for network in networks})
    return [f"lacks network {', '.join(names)}, over which {', '.join(missing)} must reach it"] if missing else []


def connections(
    desired: Mapping[str, Spec], recreated: Collection[str], containers: Collection[Container]
) -> list[tuple[str, str]]:  # fmt: skip
    """Pair networks with the containers that must join them before services are recreated.

    Such a container shares a network with a service now, or is a web service, which the edge must reach; and it would
    share none with the service as it is recreated.
    """
    pairs: dict[tuple[str, str], None] = {}
    staying = [c for c in containers if c.alive and c.service not in recreated]
    for spec in (spec for name, spec in desired.items() if name in recreated and spec.networks):
        former = {n for c in containers if not c.colour and c.service == spec.service for n in c.networks} - NO_NETWORK
        for c in (c for c in staying if not {*c.networks} & {*spec.networks}):
            if former & {*c.networks} or (spec.role == "edge" and c.role == "web"):
                pairs[min(spec.networks), c.name] = None
    return list(pairs)
