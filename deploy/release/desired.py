"""From settings, compose model and built images to a release with every file that it needs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace

from deploy.config import compose, secrets
from deploy.config.checkout import Checkout
from deploy.config.compose import Model
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import yaml
from deploy.core.errors import Refused
from deploy.core.model import COLOURS, ON_DEMAND, Digests, Release, ReleasedService, release_id
from deploy.core.shell import Secret
from deploy.edge import nginx
from deploy.edge.folder import edge_path
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.images import bases, inventory
from deploy.images import build as images
from deploy.release import placement, render
from deploy.state.store import Bundle

# stands in the edge's configuration of bundles that an early version of this toolkit has rendered
GENERATION = "@generation@"


@dataclass(frozen=True)
class Code:
    """What a release is made of: the commit, and its images by name, as digests of manifests and of configurations."""

    source: Checkout
    images: Mapping[str, str]
    config_digests: Mapping[str, str]


def variables(settings: Settings, here: LocalHost) -> dict[str, str]:
    """Return what compose files may interpolate: the edge's places, base images, the environment's plain settings."""
    references = bases.references(settings.root, settings.build.bases, images.contexts(settings), here)
    return {
        "EDGE_ADDRESS": published(settings.edge.address),
        "EDGE_PORT": str(settings.edge.port),
        "EDGE_TLS_PORT": str(settings.edge.tls_port),
        "EDGE_PROBE_PORT": str(settings.edge.probe_port),
        "EDGE_CONFIGURATION": str(edge_path(settings)),
        "STATE_FOLDER": str(settings.state_dir),
        "BACKUP_REPOSITORY": settings.backup.repository,
        "BACKUP_OFFSITE": settings.backup.offsite,
        "BACKUP_KNOWN_HOSTS": settings.backup.known_hosts,
        **{bases.variable(name): reference for name, reference in references.items()},
        **settings.variables,
    }


def published(address: str) -> str:
    """Write an address as Compose has it in front of a port: one of version 6 in brackets."""
    own = address.strip("[]")
    return f"[{own}]" if ":" in own else own


def model(settings: Settings, here: LocalHost) -> Model:
    """Read the app's compose files as one model."""
    return compose.read(settings.root, settings.compose, variables(settings, here), here)


def images_of_hosts(at: Environment) -> dict[str, set[str]]:
    """List the images of what runs on each host, built ones and those of others."""
    return {name: names(here) for name, here in placed(at, model(*at.machine)).items()}


def names(model: Model) -> set[str]:
    """List the images that a model's services are made of."""
    return {service.image for service in model.services}


def built(at: Environment, order: images.Order, model: Model) -> Code:
    """Build the images here."""
    images_built = images.build(*at.machine, order).images
    return Code(
        order.source,
        images.resolve(names(model), images_built, at.here),
        {image.name: image.config_digest for image in images_built},
    )


def shipped(at: Environment, source: Checkout, model: Model) -> Code:
    """Find the images that the hosts were given for a commit.

    Raise Refused where one lacks some, or has others than the rest.
    """
    own = {name: names(here) for name, here in placed(at, model).items()}
    records = at.each(lambda host: inventory.require_pushed(at.settings, host, source.revision, own[host.name]))
    digests: dict[str, Digests] = {}
    for host, record in records.items():
        if any(digests.setdefault(name, record[name]) != record[name] for name in own[host]):
            raise Refused(f"the hosts have different builds of {source.revision}", where=", ".join(records),
                          then=f"inv push --env={at.settings.env}", slug="hosts-disagree")  # fmt: skip
    return Code(
        source, {name: one.digest for name, one in digests.items()}, {name: one.config for name, one in digests.items()}
    )


def as_kept(bundle: Bundle, host: Host) -> Bundle:
    """Return a bundle as one host runs it: by the ids that its engine knows the images by."""
    release, own = bundle.release, ids(bundle.release, host)
    renamed = {digest: own[name] for name, digest in release.images.items() if own[name] != digest}
    files = dict(bundle.files)
    for digest, own_digest in renamed.items():
        files = {name: text.replace(digest, own_digest) for name, text in files.items()}
    services = tuple(s.model_copy(update={"image": renamed.get(s.image, s.image)}) for s in release.services)
    return replace(bundle, release=release.model_copy(update={"services": services}), files=files)


def ids(release: Release, host: Host) -> dict[str, str]:
    """Return what a host's engine calls each image: the classic store knows the digests of configurations only."""
    return release.images if images.uses_containerd_store(host) else {**release.images, **release.config_digests}


def placed(at: Environment, model: Model) -> dict[str, Model]:
    """Return what runs on which host."""
    return placement.place(model, at.settings.hosts) if at.remote else {at.here.name: model}


def bundles(at: Environment, model: Model, code: Code, values: Mapping[str, Secret]) -> dict[str, Bundle]:
    """Assemble a release for each host; its id names code, images, all hosts' rendered files and secrets."""
    settings, version, own = at.settings, secrets.version(values), placed(at, model)
    files = fingerprint({name: render_all(settings, here, code.images) for name, here in own.items()})
    identity = release_id(code.source.revision, code.images, files, version)
    env_file = str(settings.state_dir / "releases" / identity / "env")

    def bundle(here: Model) -> Bundle:
        services = (
            ReleasedService(
                name=s.name, image=code.images[s.image], deploy=s.deploy, replicas=s.replicas, behind=s.behind
            )
            for s in here.services
        )
        used = {name: code.images[name] for name in sorted(names(here))}
        configs = {name: digest for name, digest in code.config_digests.items() if name in used}
        release = Release(
            id=identity,
            revision=code.source.revision,
            commit=code.source.commit,
            commit_time=code.source.time,
            images=used,
            config_digests=configs,
            files=files,
            secrets=version,
            strategy=settings.rollout.strategy,
            services=tuple(services),
            resources=tuple(render.resource_names(here, settings.name)),
            hosts=tuple(own),
        )
        return Bundle(
            release, render_all(settings, here, code.images, identity, env_file, version), secrets.render(values)
        )

    return {name: bundle(here) for name, here in own.items()}


def render_all(
    settings: Settings,
    model: Model,
    images: Mapping[str, str],
    release: str = "",
    env_file: str = "",
    version: str = "",
) -> dict[str, str]:
    """Render every file of a release by name, its routes where there is an edge, whose frame is no part of it. Pure."""
    rendered = {"shared.yml": render.shared(model, settings.name, images, env_file, version, settings.app)}
    for colour in COLOURS:
        rendered[f"{colour}.yml"] = render.per_colour(
            model, settings.name, colour, release, images, env_file, settings.app
        )
    routes = [nginx.Route(colour, release, maintenance) for colour in COLOURS for maintenance in (False, True)]
    for route in (*routes, nginx.Route()) if model.of("edge") else ():
        rendered[nginx.routes_name(route.colour or "none", maintenance=route.maintenance)] = nginx.render(
            settings, model.web, route
        )
    return rendered


def fingerprint(rendered: Mapping[str, Mapping[str, str]]) -> str:
    """Hash what a release is rendered from.

    The shared services are not part of it, since a deploy never recreates them; where those that run for one command
    at a time reach is.
    """
    own = {
        host: {name: text if name != "shared.yml" else reached(text) for name, text in files.items()}
        for host, files in rendered.items()
    }
    own = {host: {name: text for name, text in files.items() if text} for host, files in own.items()}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:12]


def reached(shared: str) -> str:
    """Return what the compose file tells those services that run for one command at a time; empty without any."""
    services = yaml.load_rendered(shared)["services"].values()
    given = [spec.get("environment") for spec in services if set(spec.get("profiles") or ()) & set(ON_DEMAND)]
    return json.dumps(given, sort_keys=True) if given else ""
