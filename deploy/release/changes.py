"""What differs between two releases, by the names of keys and never by a value. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from deploy.config import secrets
from deploy.core import yaml
from deploy.core.model import COLOURS
from deploy.edge.nginx import routes_name
from deploy.state.store import Bundle

IMAGES = "images: "
# what every release has of its own
OWN = ("image", "env_file", "labels", "RELEASE")


def between(before: Bundle, after: Bundle) -> tuple[str, ...]:
    """Name what a release changes: code, images, secrets, settings of services, the edge's configuration."""
    old, new = before.release, after.release
    images = sorted(name for name in {**old.images, **new.images} if old.images.get(name) != new.images.get(name))
    return (
        *([f"code: {old.revision} -> {new.revision}"] if old.revision != new.revision else []),
        *([f"{IMAGES}{', '.join(images)}"] if images else []),
        *(f"secrets: {words}" for words in listed(secrets.rendered(before.env), secrets.rendered(after.env))),
        *(f"settings: {words}" for words in listed(settings(before), settings(after))),
        *(["the edge's configuration"] if edge(before) != edge(after) else []),
    )


def listed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that are new, gone or have another value, each kind in one line."""
    kinds = {
        "new": [key for key in after if key not in before],
        "gone": [key for key in before if key not in after],
        "changed": [key for key in before if key in after and before[key] != after[key]],
    }
    return (f"{', '.join(sorted(keys))} {kind}" for kind, keys in kinds.items() if keys)


def settings(bundle: Bundle) -> dict[str, str]:
    """Return what a release's compose files say of each service, by path: `backend.environment.DEBUG`."""
    return {
        key: value
        for name in ("shared.yml", f"{COLOURS[0]}.yml")
        for service, spec in ((yaml.load_rendered(bundle.files.get(name, "")) or {}).get("services") or {}).items()
        for key, value in paths(spec, service.removesuffix(f"-{COLOURS[0]}"))
    }


def paths(value: Any, above: str) -> Iterator[tuple[str, str]]:
    """Yield the leaves of nested tables by path."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key not in OWN:
                yield from paths(below, f"{above}.{key}")
    else:
        yield above, repr(value)


def edge(bundle: Bundle) -> str:
    """Return the routes of a release, whole where an older toolkit rendered them, without the release's name."""
    names = (routes_name(COLOURS[0], whole=whole) for whole in (False, True))
    return next((bundle.files[name].replace(bundle.release.id, "") for name in names if name in bundle.files), "")
