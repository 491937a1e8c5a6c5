"""From settings, compose model and built images to a release with every file that it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

from deploy import compose, render, secrets
from deploy.compose import Model
from deploy.edge import nginx
from deploy.hosts.host import Host
from deploy.images import bases
from deploy.images.build import Built, contexts, resolve
from deploy.model import COLOURS, Release, ReleasedService, release_id
from deploy.settings import Settings
from deploy.shell import Secret
from deploy.state import Bundle, State

# stands in a bundle's edge configuration until the switch knows the number
GENERATION = "@generation@"


def variables(settings: Settings, host: Host) -> dict[str, str]:
    """Return what compose files may interpolate: the edge's places, base images, the environment's plain settings."""
    references = bases.references(settings.root, settings.build.bases, contexts(settings), host)
    return {
        "EDGE_ADDRESS": settings.edge.address,
        "EDGE_PORT": str(settings.edge.port),
        "EDGE_PROBE_PORT": str(settings.edge.probe_port),
        "EDGE_CONFIGURATION": str(nginx.folder(settings)),
        **{bases.variable(name): reference for name, reference in references.items()},
        **settings.variables,
    }


def model(settings: Settings, host: Host) -> Model:
    """Read the app's compose files as one model."""
    return compose.read(settings.root, settings.compose, variables(settings, host), host)


def image_names(settings: Settings, here: Host) -> tuple[str, ...]:
    """List the images that the app's compose files name, built ones and those of others."""
    return tuple(service.image for service in model(settings, here).services)


def secret_values(settings: Settings) -> dict[str, Secret]:
    """Read this environment's secrets."""
    return dict(secrets.read(settings.secrets_file, settings.root / secrets.EXAMPLE))


def bundle(settings: Settings, known: Model, built: Built, values: Mapping[str, str], state: State) -> Bundle:
    """Put a release together: its id names the code, the images, the rendered files and the secrets."""
    images = resolve((service.image for service in known.services), built.images, state.host)
    version = secrets.version(values)
    files_hash = fingerprint(render_all(settings, known, images, "", ""))
    identity = release_id(built.revision, images, files_hash, version)
    env_file = str(state.bundle_folder(identity) / "env")
    release = Release(
        id=identity, revision=built.revision, commit=built.commit, commit_time=built.commit_time, images=images,
        config_digests={image.name: image.config_digest for image in built.images}, files=files_hash, secrets=version,
        strategy=settings.rollout.strategy,
        services=tuple(ReleasedService(name=s.name, image=images[s.image], deploy=s.deploy, replicas=s.replicas) for s in known.services),
        resources=tuple(render.resource_names(known, settings.name)),
    )  # fmt: skip
    return Bundle(release, render_all(settings, known, images, identity, env_file), secrets.render(values))


def render_all(settings: Settings, known: Model, images: Mapping[str, str], release: str, env_file: str) -> dict[str, str]:
    """Render every file of a release by name. Pure."""
    rendered = {"shared.yml": render.shared(known, settings.name, images, env_file, settings.app)}
    for colour in COLOURS:
        rendered[f"{colour}.yml"] = render.per_colour(known, settings.name, colour, release, images, env_file, settings.app)
        for kind, maintenance in (("", False), (".maintenance", True)):
            route = nginx.Route(colour, release, maintenance)
            rendered[f"edge.{colour}{kind}.conf"] = nginx.render(settings, known.web, GENERATION, route)
    return rendered | {"edge.none.conf": nginx.render(settings, known.web, GENERATION, nginx.Route())}


def fingerprint(files: Mapping[str, str]) -> str:
    """Hash what a release is rendered from; the shared services are not part of it, since a deploy never recreates them."""
    own = {name: text for name, text in files.items() if name != "shared.yml"}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]
