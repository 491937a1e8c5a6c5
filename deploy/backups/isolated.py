"""A project of an app's data services, its backup service and a few web images, with no way to anybody outside. Pure.

What is restored has real addresses in it: nothing that starts on it may send a mail, call a webhook, or reach live
data.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from deploy.core import yaml
from deploy.core.model import LABEL

DRILL = f"{LABEL}.drill"
INSIDE, OUTSIDE = "inside", "outside"
REPOSITORY = "live-repository"
RUNTIME = (
    "/",
    "/run",
    "/var",
    "/var/run",
)  # folders of the host with sockets in them: whoever has the engine's can do anything
SAVED = PurePosixPath("/data")  # where the backup service mounts the volumes that it saves
# what a container is by itself; whatever joins it to the host, to others or to an address is left out
KEPT = (
    "image", "pull_policy", "platform", "command", "entrypoint", "init", "user", "group_add", "working_dir",
    "environment",
    "env_file", "read_only", "tmpfs", "shm_size", "cap_add", "cap_drop", "security_opt",
    "sysctls", "ulimits", "healthcheck",
    "mem_limit", "mem_reservation", "memswap_limit", "cpus", "stop_signal",
)  # fmt: skip
# the engine's default may send what a program prints to another machine
LOGGING = {"driver": "json-file", "options": {"max-size": "10m"}}


@dataclass(frozen=True)
class Web:
    """Services of one release's colour file, and the suffix that tells them from those of another release."""

    file: str
    services: tuple[str, ...]
    suffix: str


def project_of(name: str) -> str:
    """Return what Compose calls an environment's drill: a digit first, as no environment has it. Pure."""
    return f"0-drill-{name}"


def render(name: str, shared: str, webs: Iterable[Web], repository: str) -> str:
    """Render the project of a drill from a release's files; `repository` is restic's, as it writes it."""
    document = yaml.load_rendered(shared)
    data, (backup,) = having(document, "data"), having(document, "backup").values()
    saved = frozenset(mount["source"] for mount in mounts(backup) if is_saved(mount))
    services = {key: isolated(spec, name, key, saved) for key, spec in data.items()}
    for web in webs:
        own = {service_of(spec): spec for spec in having(yaml.load_rendered(web.file), "web").values()}
        services |= {f"{key}-{web.suffix}": isolated(own[key], name, key, saved) for key in web.services if key in own}
    services[service_of(backup)] = saving(backup, name, repository, saved)
    volumes: dict[str, Any] = {source: {} for spec in services.values() for source in sources(spec)}
    for mount in repository_mounts(backup, repository):
        if mount["type"] == "volume":
            volumes[REPOSITORY] = {"name": document["volumes"][mount["source"]]["name"], "external": True}
    networks = {INSIDE: {"internal": True}, **({OUTSIDE: {}} if is_remote(repository) else {})}
    return yaml.dump_rendered(
        {"name": project_of(name), "services": services, "networks": networks, "volumes": volumes}
    )


def render_beside(name: str, shared: str, web: Web, values: Mapping[str, str]) -> str:
    """Render a web service with some variables of its own, on those of its networks that the backup service is on."""
    document = yaml.load_rendered(web.file)
    (backup,) = having(yaml.load_rendered(shared), "backup").values()
    key = web.services[0]
    (spec,) = [spec for spec in having(document, "web").values() if service_of(spec) == key]
    common = [network for network in spec.get("networks") or {} if network in (backup.get("networks") or {})]
    own = isolated(spec, name, key, frozenset())
    service = {
        **own, "environment": {**(spec.get("environment") or {}), **values}, "networks": dict.fromkeys(common),
    }  # fmt: skip
    volumes: dict[str, Any] = {source: {} for source in sources(service)}
    networks = {network: document["networks"][network] for network in common}
    services = {f"{key}-{web.suffix}": service}
    return yaml.dump_rendered(
        {"name": f"0-restore-{name}", "services": services, "networks": networks, "volumes": volumes}
    )


def isolated(spec: Mapping[str, Any], name: str, key: str, saved: frozenset[str]) -> dict[str, Any]:
    """Copy what a service is by itself; its volumes are the drill's own, and it is reached by the names that it has."""
    return {
        **{word: spec[word] for word in KEPT if word in spec},
        "labels": {DRILL: name}, "restart": "no", "logging": LOGGING,
        "networks": {INSIDE: {"aliases": list(dict.fromkeys([key, *declared_aliases(spec)]))}},
        "volumes": [own for mount in mounts(spec) for own in replaced(mount, saved)],
    }  # fmt: skip


def saving(spec: Mapping[str, Any], name: str, repository: str, saved: frozenset[str]) -> dict[str, Any]:
    """Copy the backup service: it alone sees the live repository, and it fills what it saves elsewhere."""
    held = repository_mounts(spec, repository)
    others = [own for mount in mounts(spec) if mount not in held for own in replaced(mount, saved)]
    filled = [{**own, "read_only": False} if is_saved(own) else own for own in others]
    live = [{**mount, "source": REPOSITORY} if mount["type"] == "volume" else mount for mount in held]
    networks = {INSIDE: None, **({OUTSIDE: None} if is_remote(repository) else {})}
    return {**isolated(spec, name, "backup", saved), "networks": networks, "volumes": [*live, *filled]}


def replaced(mount: Mapping[str, Any], saved: frozenset[str]) -> Iterator[dict[str, Any]]:
    """Replace a mount by a volume of the drill; files that nobody writes are read where they are, sockets never."""
    source, read_only = mount.get("source", ""), bool(mount.get("read_only"))
    if mount["type"] not in ("volume", "bind", "tmpfs") or source in RUNTIME or source.endswith(".sock"):
        return
    if mount["type"] == "tmpfs" or (mount["type"] == "bind" and read_only and source not in saved):
        yield dict(mount)
    else:
        own = {"source": re.sub(r"[^a-zA-Z0-9_.-]+", "-", source).strip("-")} if source else {}
        yield {"type": "volume", **own, "target": mount["target"], "read_only": read_only}


def data_services(shared: str) -> tuple[str, ...]:
    """List the services that keep data."""
    return tuple(having(yaml.load_rendered(shared), "data"))


def data_names(shared: str) -> dict[str, str]:
    """Return the services that keep data by the names that they are reached by."""
    return {
        name: key
        for key, spec in having(yaml.load_rendered(shared), "data").items()
        for name in (key, *declared_aliases(spec))
    }


def declared_aliases(spec: Mapping[str, Any]) -> list[str]:
    """List the names that a service has on its networks besides its own."""
    return [alias for one in (spec.get("networks") or {}).values() for alias in (one or {}).get("aliases", ())]


def environment(shared: str, service: str) -> dict[str, str]:
    """Return the variables that the compose file gives a service."""
    services = (yaml.load_rendered(shared) or {}).get("services") or {}
    given = (services.get(service) or {}).get("environment") or {}
    return {name: str(value) for name, value in given.items()}


def saved_folders(shared: str) -> tuple[str, ...]:
    """List the folders of the backup service that a restore fills besides the database."""
    (backup,) = having(yaml.load_rendered(shared), "backup").values()
    return tuple(mount["target"] for mount in mounts(backup) if is_saved(mount))


def saved_volumes(shared: str) -> dict[str, str]:
    """Return the volumes that the backup service saves, by the folder in which it has each."""
    (backup,) = having(yaml.load_rendered(shared), "backup").values()
    return {mount["target"]: mount["source"] for mount in mounts(backup) if is_saved(mount)}


def is_saved(mount: Mapping[str, Any]) -> bool:
    """Tell whether the backup service saves what is mounted here."""
    return PurePosixPath(mount["target"]).is_relative_to(SAVED)


def repository_mounts(backup: Mapping[str, Any], repository: str) -> list[dict[str, Any]]:
    """Return the mount that holds the repository, the innermost of several; none where it is reached over a network."""
    around = [mount for mount in mounts(backup) if PurePosixPath(repository).is_relative_to(mount["target"])]
    return sorted(around, key=lambda mount: len(mount["target"]))[-1:] if not is_remote(repository) else []


def is_remote(repository: str) -> bool:
    """Tell whether a repository is reached over a network, as restic writes it: `s3:https://...`."""
    return not repository.startswith("/")


def having(document: Mapping[str, Any], role: str) -> dict[str, dict[str, Any]]:
    """Return the services of one role."""
    specs = (document.get("services") or {}).items()
    return {name: spec for name, spec in specs if (spec.get("labels") or {}).get(f"{LABEL}.role") == role}


def service_of(spec: Mapping[str, Any]) -> str:
    """Return the name that the compose file has for a rendered service."""
    return str(spec["labels"][f"{LABEL}.service"])


def mounts(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a service mounts."""
    return list(spec.get("volumes") or [])


def sources(spec: Mapping[str, Any]) -> list[str]:
    """Name the volumes that a service mounts."""
    return [mount["source"] for mount in mounts(spec) if mount["type"] == "volume" and mount.get("source")]
