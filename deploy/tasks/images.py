"""`inv build` and `inv images.*`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deploy.tasks.command import command

if TYPE_CHECKING:
    from deploy.config.environment import Environment


@command(help={"no_cache": "run every step again", "push": "bring the images to every host"})
def build(at: Environment, no_cache: bool = False, push: bool = False, json: bool = False) -> None:
    """Build all images with cached stages; print digest, size, cached steps and seconds."""
    from deploy.images import build, show
    from deploy.images.push import push as to_hosts
    from deploy.release import desired

    images = desired.images_of_hosts(at) if push else {}
    built = build.build_and_keep(at.settings, at.here, no_cache=no_cache)
    show.built(built, to_hosts(at.settings, at.here, at.hosts, images) if push else None, json=json)


@command()
def push(at: Environment, json: bool = False) -> None:
    """Bring the images that `inv build` made of this checkout to the hosts that run them.

    Only what a host lacks travels.
    """
    from deploy.images import show
    from deploy.images.push import push
    from deploy.release import desired

    show.pushed(push(at.settings, at.here, at.hosts, desired.images_of_hosts(at)), json=json)


@command()
def pin(at: Environment) -> None:
    """Resolve the public base images to digests and write them into docker/bases.toml."""
    from deploy.core import console
    from deploy.images import bases, build

    pinned = bases.pin(at.settings.root, build.contexts(at.settings), at.here)
    console.table(["base", "digest"], list(pinned.items()))
