"""What is rendered from the compose model: one pinned file per colour, and one for what colours share. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from deploy.config.compose import READING, Model, Service
from deploy.core import yaml
from deploy.core.model import BLOCK, COLOUR_PORT_OFFSET, LABEL, MADE_OF, ON_DEMAND, SHARED

# the service that makes Compose create networks and volumes which only colours use
HOLDER = "ops-holder"
# what belongs to a checkout or to one project, not to a colour
DROPPED = ("build", "ports", "container_name", "depends_on", "profiles", "develop", "x-deploy")


def shared(
    model: Model, settings_name: str, images: Mapping[str, str], env_file: str, secrets: str, app: str
) -> str:  # fmt: skip
    """Render the project of data and edge: it owns the networks and volumes that colours share. Pure.

    Each says in a label what it is made of, by which drift is seen: Compose's own hash counts the path of env_file, and
    every release has a folder of its own. `secrets` is the version of what that file holds.
    """
    networks, volumes = resources(model.networks, settings_name), resources(model.volumes, settings_name)
    services: dict[str, Any] = {}
    if model.services:
        services[HOLDER] = holder(images[model.services[0].image], networks, volumes)
    for service in model.of(*SHARED, *ON_DEMAND):
        labels = own_labels(service, app, settings_name)
        spec = services[service.name] = pinned(service, images, env_file, labels)
        if service.role == "edge":
            spec["ports"] = service.spec.get("ports", [])
        elif service.published:
            spec["ports"] = [f"{service.published}:{service.deploy.port}:{service.deploy.port}"]
        elif service.role in ON_DEMAND:
            spec["profiles"] = [service.role]
        spec["labels"][MADE_OF] = made_of(spec | {"env_file": secrets if service.has_secrets else ""})
        if service.deploy.backup:  # what it says of backups is no drift
            spec["labels"][f"{LABEL}.backup"] = service.deploy.backup
    return yaml.dump_rendered(
        {
            "name": settings_name,
            "services": services,
            "networks": networks,
            "volumes": volumes,
        }
    )


def resources(declared: Mapping[str, Any], environment: str) -> dict[str, dict[str, Any]]:
    """Name networks or volumes after the environment; a name that the file itself chose is kept."""
    named = {name: dict(spec or {}) for name, spec in declared.items()}
    for name, spec in named.items():
        if spec.get("name") in (None, f"{READING}_{name}"):
            spec["name"] = f"{environment}_{name}"
    return named


def resource_names(model: Model, environment: str) -> list[str]:
    """List the names of all networks and volumes on the engine."""
    kinds = (resources(declared, environment) for declared in (model.networks, model.volumes))
    return [spec["name"] for kind in kinds for spec in kind.values()]


def holder(image: str, networks: Iterable[str], volumes: Iterable[str]) -> dict[str, Any]:
    """Describe a container that is created, never started, removed: Compose makes only what some service uses."""
    mounts = [f"{name}:/held/{name}" for name in volumes]
    return {
        "image": image, "command": ["never-started"],  # not every image has one, and the engine wants one
        "pull_policy": "never", "profiles": [HOLDER], "networks": sorted(networks), "volumes": mounts,
    }  # fmt: skip


def per_colour(
    model: Model, settings_name: str, colour: str, release: str, images: Mapping[str, str], env_file: str, app: str
) -> str:  # fmt: skip
    """Render one colour's project, pinned, without a secret. Pure.

    A service is renamed `<service>-<colour>`: on a shared network Compose gives each service its name as an alias, and
    two colours under one name would both be reached. The colour's own network keeps the plain names, and aliases.
    """
    services = {}
    for service in model.of("web", "worker", "scheduler", "job"):
        labels = own_labels(service, app, settings_name) | {f"{LABEL}.colour": colour, f"{LABEL}.release": release}
        labels[BLOCK] = service.deploy.model_dump_json(exclude_defaults=True)
        spec = pinned(service, images, env_file, labels)
        spec["environment"] = {**(spec.get("environment") or {}), "RELEASE": release, "COLOUR": colour}
        if spec.get("hostname"):  # others on its networks reach it by that name, too
            spec["hostname"] = f"{spec['hostname']}-{colour}"
        if "network_mode" not in spec:
            spec["networks"] = joined(service)
        if service.role == "job":
            spec["profiles"] = ["job"]
        if service.published:
            port = service.deploy.port or 80
            spec["ports"] = [f"{service.published}:{port + COLOUR_PORT_OFFSET[colour]}:{port}"]
        services[f"{service.name}-{colour}"] = spec
    networks, volumes = (
        {name: {"name": spec["name"], "external": True} for name, spec in resources(declared, settings_name).items()}
        for declared in (model.networks, model.volumes)
    )
    return yaml.dump_rendered(
        {
            "name": f"{settings_name}-{colour}",
            "services": services,
            "networks": {**networks, "colour": {"name": f"{settings_name}-{colour}"}},
            "volumes": volumes,
        }
    )


def joined(service: Service) -> dict[str, Any]:
    """Return the networks of a colour's service: its aliases are names on the colour's own network alone. Pure."""
    networks, aliases = dict[str, Any](), [service.name]
    for name, options in service.networks.items():
        aliases += (options or {}).get("aliases", [])
        networks[name] = {key: value for key, value in (options or {}).items() if key != "aliases"} or None
    return {**networks, "colour": {"aliases": list(dict.fromkeys(aliases))}}


def own_labels(service: Service, app: str, name: str) -> dict[str, str]:
    """Return the labels by which the toolkit finds its containers again."""
    return {LABEL: name, f"{LABEL}.app": app, f"{LABEL}.service": service.name, f"{LABEL}.role": service.role}


def pinned(service: Service, images: Mapping[str, str], env_file: str, labels: Mapping[str, str]) -> dict[str, Any]:
    """Copy a specification, its image replaced by what was built, its env_file by the release's."""
    spec = {key: value for key, value in service.spec.items() if key not in DROPPED}
    # one without a value would be taken from whoever's shell, and hide a secret of that name
    spec["environment"] = {name: value for name, value in (spec.get("environment") or {}).items() if value is not None}
    spec["image"] = images[service.image]
    spec["pull_policy"] = "never"
    spec["labels"] = {**(spec.get("labels") or {}), **labels}
    if service.has_secrets:
        spec["env_file"] = [env_file]
    return {key: value for key, value in spec.items() if value not in ({}, None)}


def made_of(spec: Mapping[str, Any]) -> str:
    """Hash what a shared service is made of, however YAML is written. Pure."""
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()[:12]
