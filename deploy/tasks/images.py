"""`inv build` and `inv images.*`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.door import door

if TYPE_CHECKING:
    from deploy.environment import Environment


@door(help={"no_cache": "run every step anew"})
def build(at: Environment, no_cache: bool = False, json: bool = False) -> None:
    """Build all images with cached stages; print digest, size, cached steps and seconds."""
    from deploy.images import build, show

    show.built(build.build(*at.machine, no_cache=no_cache), json=json)


@door()
def pin(at: Environment) -> None:
    """Resolve the public base images to digests and write them into docker/bases.toml."""
    from deploy import console
    from deploy.images import bases

    console.table(["base", "digest"], list(bases.pin(at.settings.root, at.here).items()))
