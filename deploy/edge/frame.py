"""The frame of the edge's configuration: listeners, limits and log format, which belong to the host and to no release.

Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from deploy.config.settings import Settings
from deploy.core.errors import Refused
from deploy.core.model import WHOLE
from deploy.edge.nginx import rendered

# what nginx reads first, and what the release that serves brings; an older toolkit wrote both as one file
MAIN, ROUTES = "nginx.conf", "routes.conf"
# the two variants of a release's routes, of which routes.conf is a copy of one
APP, MAINTENANCE = "app.conf", "maintenance.conf"
# what holds no key, and how what may hold one is kept
PUBLIC, PRIVATE = (MAIN, ROUTES, APP, MAINTENANCE), 0o600
# a template of an older toolkit: frame and routes in one
RETIRED = "edge.conf.j2"


@dataclass(frozen=True)
class File:
    """A file of a generation; one that holds a key has mode 0600."""

    text: str
    mode: int = 0o644


Files = Mapping[str, File]


def render(settings: Settings) -> dict[str, File]:
    """Render the frame for a host.

    Raise Refused where its template is wrong, or one of an older toolkit is still there.
    """
    if (settings.root / settings.nginx / RETIRED).exists():
        then = f"move its locations to {settings.nginx}/site.conf.j2 and the rest to {settings.nginx}/frame.conf.j2"
        raise Refused(
            f"{RETIRED} is read no more", where=f"{settings.nginx}/{RETIRED}", then=then, slug="edge-config-invalid"
        )
    return {MAIN: File(rendered(settings, "frame.conf.j2", domain=settings.domain))}


def fingerprint(frame: Files) -> str:
    """Hash a frame."""
    text = json.dumps({name: file.text for name, file in frame.items()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def own(files: Files) -> dict[str, File]:
    """Return the frame among the files of a generation: all but its routes."""
    return {name: file for name, file in files.items() if name not in (ROUTES, APP, MAINTENANCE)}


def name_of(files: Files) -> str:
    """Name the frame of a generation by its hash.

    WHOLE where frame and routes are one file, empty where there is no edge.
    """
    return fingerprint(own(files)) if ROUTES in files else WHOLE if files else ""
