"""Where the edge has its certificates: a volume, mounted by docker/compose.tls.yml. Pure."""

from __future__ import annotations

from typing import Any

from deploy.config.compose import Model
from deploy.config.settings import Settings
from deploy.core.errors import refuse

FOLDER = "/etc/certificates"
TLS_PORT = 8443  # inside the container
OVERLAY = "docker/compose.tls.yml"


def require_mounted(settings: Settings, model: Model) -> None:
    """Refuse an edge that is to serve HTTPS, and has no certificates or no port for it in the compose files."""
    if not settings.tls.by:
        return
    (edge,) = model.of("edge")
    lacks = [] if FOLDER in targets(edge.spec.get("volumes")) else [f"{edge.name} has no volume at {FOLDER}"]
    lacks += [] if TLS_PORT in targets(edge.spec.get("ports")) else [f"{edge.name} does not publish {TLS_PORT}"]
    then = f"add {OVERLAY} to compose of deploy/environments/{settings.env}.toml, then inv plan --env={settings.env}"
    what = "tls.by is set, and the edge cannot serve HTTPS:"
    refuse(what, lacks, where=", ".join(settings.compose), then=then, slug="edge-without-certificates")


def targets(entries: Any) -> set[Any]:
    """Return what volumes or ports of a service are inside its container."""
    return {entry.get("target") for entry in entries or ()}
