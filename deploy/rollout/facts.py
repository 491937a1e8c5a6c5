"""What is there now: asked of the engine and of the edge, never remembered."""

from __future__ import annotations

import json
from pathlib import Path

from deploy.edge import nginx
from deploy.hosts.local import LocalHost
from deploy.model import Container, EdgeFacts, Facts
from deploy.settings import Settings
from deploy.state import State


def observe(settings: Settings, host: LocalHost, state: State) -> Facts:
    """Look at one environment on one host."""
    containers = host.engine.containers(settings.name)
    return Facts(containers, edge(settings, host, containers), state.schema())


def edge(settings: Settings, host: LocalHost, containers: tuple[Container, ...]) -> EdgeFacts:
    """Ask the edge what it serves; while it is down, read what it will serve when it starts."""
    running = any(c.role == "edge" and c.state == "running" for c in containers)
    said = served(settings, host) if running else None
    return said or configured(nginx.folder(settings), host, running)


def served(settings: Settings, host: LocalHost) -> EdgeFacts | None:
    """Read the generation that the running edge answers with; None when it does not answer."""
    status, body = host.get(settings.edge.probe_port, "/generation")
    if status != 200:
        return None
    known = json.loads(body)
    return EdgeFacts(True, known["generation"], known["colour"] or None, known["release"] or None)


def configured(folder: Path, host: LocalHost, running: bool) -> EdgeFacts:
    """Read the generation that the edge's link names."""
    target = host.pointed(folder / "current")
    text = host.read(folder / target / "route.json") if target else None
    return EdgeFacts(running, **json.loads(text)) if text else EdgeFacts(running)
