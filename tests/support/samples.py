"""Small releases, containers and compose models that the lower storeys share."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from deploy.config import compose
from deploy.config.settings import Settings
from deploy.core import yaml
from deploy.core.facts import Container, EdgeFacts, Facts
from deploy.core.model import COLOURS, Deploy, Release, ReleasedService

ROLES = {"redis": "data", "edge": "edge", "backend": "web", "worker": "worker", "beat": "scheduler", "site": "job"}
COMPOSE = """
services:
  backend:
    image: app/backend
    x-deploy: {role: web, port: 8000, version: /version, drain: [drain], resume: [resume], migrate: [alembic, upgrade, head]}
    networks: {edge: null, data: null}
  worker:
    image: app/backend
    x-deploy: {role: worker, drain: [quiet], resume: [resume], tasks: [tasks], failed: [failed]}
    networks: {data: null}
  beat: {image: app/backend, x-deploy: {role: scheduler}, networks: {data: null}}
  site: {image: app/site, x-deploy: {role: job, run: before_switch, on_rollback: true}, network_mode: none}
  redis: {image: redis, x-deploy: {role: data}, networks: {data: null}}
  edge: {image: app/edge, x-deploy: {role: edge}, networks: {edge: null}, ports: [{target: 8080}]}
networks: {edge: {}, data: {}}
volumes: {}
"""
DATA = COMPOSE.replace(
    "redis: {image: redis, x-deploy: {role: data}", "redis: {image: redis, x-deploy: {role: data, port: 6379}"
)
IMAGES = {name: f"sha256:{name}" for name in ("app/backend", "app/site", "app/edge", "redis")}


def settings(root: Path = Path("/nowhere"), **more: Any) -> Settings:
    """The settings of a small app."""
    return Settings(env="local", app="shop", compose=["c.yml"], root=root, **{"domain": "shop.test", **more})


@cache
def model(text: str = COMPOSE) -> compose.Model:
    """Read what Compose would have merged, each text once."""
    return compose.check(yaml.load(text), {"backend"}, Path("/nowhere"), "c.yml")


def release(name: str, without: tuple[str, ...] = (), extra: dict[str, str] | None = None) -> Release:
    """Make a release of the small app."""
    roles = {service: role for service, role in {**ROLES, **(extra or {})}.items() if service not in without}
    blocks = {
        "backend": Deploy(role="web", port=8000, migrate=("alembic", "upgrade", "head")),
        "site": Deploy(role="job", run="before_switch"),
    }
    services = tuple(
        ReleasedService(
            name=service, image=f"sha256:{name}", deploy=blocks.get(service) or Deploy.model_validate({"role": role})
        )
        for service, role in roles.items()
    )
    return Release(
        id=name, revision=name, commit=name * 40, commit_time="2026-01-01T00:00:00Z", images={}, config_digests={},
        files="f", secrets="s", strategy="blue_green", services=services,
    )  # fmt: skip


def able(found: Release) -> Release:
    """Make a release whose web services and workers can be told to drain and to go on.

    Whose workers tell of their tasks.
    """
    words = {"drain": ("drain",), "resume": ("resume",)}
    blocks = {"web": words, "worker": {**words, "tasks": ("tasks",)}}
    services = tuple(
        s.model_copy(update={"deploy": s.deploy.model_copy(update=blocks.get(s.role, {}))}) for s in found.services
    )
    return found.model_copy(update={"services": services})


def rolling(found: Release, replicas: int) -> Release:
    """Make a release that rolls, with this number of replicas of each web service and worker."""
    services = {s.name: replicas for s in found.of("web", "worker")}
    return found.model_copy(update={"strategy": "rolling"}).scaled(services)


def container(
    service: str, colour: str = "", release: str = "", state: str = "running", role: str = "", number: int = 1
) -> Container:
    """Make a container as the engine shows it."""
    name = f"shop-local-{colour or 'shared'}-{service}-{number}"
    return Container(
        name, service, role or ROLES[service], colour, release, state, "healthy", "sha256:x", number=number
    )


def serving(name: str, colour: str, generation: int = 2) -> Facts:
    """Facts of a release that serves and lacks nothing."""
    own = tuple(container(service, colour, name) for service in ("backend", "worker", "beat"))
    upstreams = {f"backend_{colour}": (f"shop-local-{colour}-backend-1:8000",) for colour in COLOURS}
    edge = EdgeFacts(True, generation, colour, name, members=(own[0].name,), upstreams=upstreams)
    return Facts((*own, container("redis"), container("edge")), edge, accepted=name)


def log_line(**changed: Any) -> str:
    """Make a line of the edge's access log: a request that an app answered, but for what is changed."""
    found = {
        "time": "2026-11-23T15:37:10+00:00", "colour": "green", "release": "r2", "method": "GET", "path": "/",
        "status": 200, "bytes": 5, "seconds": 6.1, "upstream_seconds": "0.127", "upstream": "172.23.0.4:8000",
    }  # fmt: skip
    return json.dumps({**found, **changed})
