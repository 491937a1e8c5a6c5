"""`inv build` and `inv images.*`."""

from __future__ import annotations

from typing import Any

from deploy.tasks.door import ENV, JSON, door


@door(help={**ENV, **JSON, "no_cache": "run every step anew"})
def build(c: Any, env: str = "local", no_cache: bool = False, json: bool = False) -> None:
    """Build all images with cached stages; print digest, size, cached steps and seconds."""
    from deploy import settings
    from deploy.hosts.local import LocalHost
    from deploy.images import build as images
    from deploy.images import show

    show.built(images.build(settings.load(env), LocalHost(), no_cache=no_cache), json=json)


@door(help=ENV)
def pin(c: Any, env: str = "local") -> None:
    """Resolve the public base images to digests and write them into docker/bases.toml."""
    from deploy import console, settings
    from deploy.hosts.local import LocalHost
    from deploy.images import bases

    console.table(["base", "digest"], list(bases.pin(settings.load(env).root, LocalHost()).items()))
