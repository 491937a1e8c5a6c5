"""A release as its containers show it, for when its record is gone: they can be started again as they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import product
from pathlib import Path
from typing import Any

from deploy.config.settings import Settings
from deploy.core import yaml
from deploy.core.errors import Refused
from deploy.core.facts import Container, Facts
from deploy.core.model import RECONSTRUCTED, SHARED, WHOLE, Deploy, Record, Release, ReleasedService
from deploy.edge import frame, nginx
from deploy.edge.folder import EdgeFolder, generation_folder
from deploy.hosts.host import Host
from deploy.state.store import Bundle, State


def release(state: State, name: str, containers: Sequence[Container]) -> Release:
    """Read what a release is; without its record say it by its containers. Raise Refused where these do not show it."""
    try:
        return state.release(name)
    except Refused as lost:
        return assembled(name, containers, state.ledger(), lost)


def bundle(settings: Settings, host: Host, name: str, facts: Facts) -> Bundle:
    """Read a bundle; without its record put it together from containers, which is warned of.

    Raise Refused where that cannot be.
    """
    state = State(host, settings.state_dir)
    try:
        return state.bundle(name)
    except Refused as lost:
        release_there = assembled(name, facts.containers, state.ledger(), lost)
        own = [c for c in facts.containers if c.release == name]
        files = edge_files(settings, host, name, own[0].colour)
        reasons = [
            *differences(state, own),
            *([] if release_there.of("edge") == () else lacking(files, own[0].colour, facts)),
        ]
        reasons += ["other hosts are behind this edge, which no container shows"] if settings.fronts else []
        if reasons:
            raise unfit(lost, reasons) from None
        images = ", ".join(f"{c.name} ({c.image[:19]})" for c in own)
        state.warn(
            f"{lost.what}; release {name} is put together from its containers, which are started as they are: {images}"
        )
        return Bundle(release_there, files, text(host, state.bundle_folder(name) / "env"))


def assembled(name: str, containers: Iterable[Container], entries: Iterable[Record], lost: Refused) -> Release:
    """Put a release together from its containers. Pure.

    Raise Refused, with what was `lost`, where these do not show one release.
    """
    containers, entries = tuple(containers), tuple(entries)
    own = [c for c in containers if c.release == name and c.colour]
    colours = {c.colour for c in own}
    others = [c for c in containers if c.colour in colours and c.release != name]
    mixed = sorted({c.release for c in others} - left_over(name, entries))
    if any(c.role == "web" and c.alive for c in own) and not any(c.alive for c in others):
        mixed = []  # it is at work, and what is beside it is not
    unlabelled = [c.name for c in own if c.deploy is None]
    unlike = sorted(
        {
            c.service
            for c in own
            if any((c.image, c.deploy) != (o.image, o.deploy) for o in own if o.service == c.service)
        }
    )
    reasons = [] if own else ["it has no containers here"]
    reasons += [f"its containers are in {' and '.join(sorted(colours))}"] if len(colours) > 1 else []
    reasons += [f"containers of {', '.join(mixed)} are beside them"] if mixed else []
    reasons += [f"{', '.join(unlabelled)}: without the label that says what it is for"] if unlabelled else []
    reasons += [f"replicas of {', '.join(unlike)} differ"] if unlike else []
    if reasons:
        raise unfit(lost, reasons) from None
    services = {c.service: ReleasedService(name=c.service, image=c.image, deploy=block(c)) for c in own if c.deploy}
    numbers = {service: sum(c.service == service for c in own) for service in services}
    shared = (ReleasedService(name=c.service, image=c.image, deploy=block(c)) for c in containers if c.role in SHARED)
    entry = next((entry for entry in entries if entry.release == name), None)
    revision = entry.revision if entry else name.rpartition("-")[0] or name
    return Release(
        id=name,
        revision=revision,
        commit=revision,
        commit_time=entry.commit_time if entry else "",
        images={},
        config_digests={},
        files="",
        secrets="",
        strategy=RECONSTRUCTED,
        services=(*services.values(), *shared),
    ).scaled(numbers)


def left_over(name: str, entries: Sequence[Record]) -> set[str]:
    """Return the releases that were not tried since one was put into service: their containers are leftovers. Pure."""
    last = {entry.release: at for at, entry in enumerate(entries)}
    served = max(
        (at for at, entry in enumerate(entries) if (entry.release, entry.outcome) == (name, "in service")), default=-1
    )
    return {release for release, at in last.items() if at < served}


def block(container: Container) -> Deploy:
    """Return a container's x-deploy block; of a shared one no more than its role is known."""
    return container.deploy or Deploy.model_validate({"role": container.role})


def unfit(lost: Refused, reasons: Sequence[str]) -> Refused:
    """Say why containers cannot stand in for what was lost."""
    what = f"{lost.what}, and its containers cannot stand in for it: {'; '.join(reasons)}"
    return Refused(what, where=lost.where, then=f"{lost.then}, then inv rollback --to=RELEASE", slug=lost.slug)


def edge_files(settings: Settings, host: Host, name: str, colour: str) -> dict[str, str]:
    """Return the routes of a release in a colour: of its bundle, else of the last generation that served it.

    Those that an older toolkit has rendered are whole configurations, and keep their name.
    """
    folder, texts = State(host, settings.state_dir).bundle_folder(name), dict[str, str]()
    variants = ((frame.APP, False), (frame.MAINTENANCE, True))
    for (variant, maintenance), whole in product(variants, (False, True)):
        file = nginx.routes_name(colour, maintenance=maintenance, whole=whole)
        texts[file] = text(host, folder / file) or served(settings, host, (colour, name), variant, whole=whole)
    return {file: content for file, content in texts.items() if content}


def served(settings: Settings, host: Host, place: tuple[str, str], variant: str, *, whole: bool) -> str:
    """Return one variant of what the edge had read when it last served a release in a colour.

    Empty when it is forgotten.
    """
    folder = EdgeFolder(settings, host)
    for number in folder.numbers():
        route = folder.route(number)
        fits = (route.colour, route.release, route.frame == WHOLE) == (*place, whole)
        if fits and (content := folder.text(generation_folder(number), variant)):
            return content
    return ""


def lacking(files: Mapping[str, str], colour: str, facts: Facts) -> list[str]:
    """Say when what the edge would read next is gone."""
    names = [nginx.routes_name(colour, maintenance=facts.edge.maintenance, whole=whole) for whole in (False, True)]
    return [] if {*names} & {*files} else [f"the edge's configuration for it is gone too ({names[0]})"]


def differences(state: State, own: Sequence[Container]) -> list[str]:
    """Say where containers are not what the release's compose file says, as far as there still is one."""
    services = declared(state.text(own[0].release, f"{own[0].colour}.yml"))
    images = {c.service: c.image for c in own}
    pinned = {
        name.removesuffix(f"-{own[0].colour}"): spec.get("image")
        for name, spec in services.items()
        if not spec.get("profiles")
    }
    missing = [name for name in pinned if name not in images and state.scale().get(name) != 0]
    other = [
        name
        for name, image in pinned.items()
        if name in images and str(image).startswith("sha256:") and images[name] != image
    ]
    reasons = [f"{', '.join(missing)} has no container"] if missing else []
    return [*reasons, *([f"{', '.join(other)} is of another image than its compose file says"] if other else [])]


def declared(rendered: str) -> dict[str, dict[str, Any]]:
    """Read the services of a rendered compose file; none where it cannot be read. Pure."""
    with suppress(yaml.NotYaml, AttributeError, TypeError):
        services = (yaml.load_rendered(rendered) or {}).get("services") or {}
        return {name: spec for name, spec in services.items() if isinstance(spec, dict)}
    return {}


def text(host: Host, path: Path) -> str:
    """Read a file; empty where there is none or it cannot be read."""
    with suppress(OSError):
        return host.read(path) or ""
    return ""
