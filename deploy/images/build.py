"""Build all images and describe them."""

from __future__ import annotations

import json
import os
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from deploy.config import checkout
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import CommandFailed, GateClosed, OpsError, Reasons, Refused
from deploy.core.shell import Command, Secret, docker
from deploy.hosts.host import Host
from deploy.hosts.local import PLATFORM, LocalHost
from deploy.images import bake, bases, dockerfile, tags

MEGABYTE = 1_000_000
# Buildx would ask git three things for each image, one after the other, for an attestation that is not made
WITHOUT_GIT = {"BUILDX_GIT_INFO": "false"}
PIN = "name it by digest, as in redis:7@sha256:..., or, but for `# syntax=`, give it an entry in docker/bases.toml"

IGNORED = "is not read: a value for the bake file belongs into [variables]"


@dataclass(frozen=True)
class Image:
    """One built image: digests of manifest and configuration, layers, and how much of its build was cached."""

    name: str
    digest: str
    config_digest: str
    layers: Counter[str]
    cached: int
    steps: int

    @property
    def megabytes(self) -> float:
        """The sum of uncompressed layers, in MB."""
        return self.layers.total() / MEGABYTE


@dataclass(frozen=True)
class Built:
    """What one build made, from which revision, in how many seconds."""

    revision: str
    commit: str
    images: tuple[Image, ...]
    seconds: float


@dataclass(frozen=True)
class Order:
    """What a build works from: the checkout's commit, and the images that the bake file names."""

    source: checkout.Checkout
    targets: tuple[bake.Target, ...]


def prepare_order(settings: Settings, host: LocalHost) -> Order:
    """Check what a build needs and build nothing; raise Refused with every reason at once."""
    host.engine.require()
    reasons = Reasons()
    with reasons:
        source = checkout.read(settings.root, host)
    with reasons:
        targets = read_targets(settings, host)
    reasons.refuse()
    return Order(source, targets)


def read_targets(settings: Settings, host: LocalHost) -> tuple[bake.Target, ...]:
    """Read the bake file; raise Refused when Bake cannot, or where Docker has no buildx."""
    try:
        printed = host.run(without_shell(settings, bake.print_targets(str(settings.root / settings.bake))))
    except CommandFailed as error:
        require_buildx(host)
        what, then = f"docker buildx bake cannot read {settings.bake}:\n{error.output}", f"fix {settings.bake}"
        raise Refused(what, where=settings.bake, then=then, slug="bake-file-invalid") from None
    return bake.targets(printed, settings.build.budget)


def build(settings: Settings, host: LocalHost, order: Order | None = None, *, no_cache: bool = False) -> Built:
    """Build every image of the bake file from the checkout; raise OpsError naming the step that failed."""
    started = time.monotonic()
    order = order or prepare_order(settings, host)
    source, targets = order.source, order.targets
    if source.dirty:
        console.warn(f"the checkout has uncommitted changes; this build is {source.revision}")
    if os.environ.get(PLATFORM):
        console.warn(f"{PLATFORM} of this shell is not read: build.platform in the settings says what is built")
    unread = {*declared(settings)} & os.environ.keys() - variables(settings, source).keys() - {*secrets(settings)}
    for name in sorted(unread):
        console.warn(f"{name} of this shell {IGNORED}")
    for name in secrets(settings):
        is_set = name in os.environ
        console.say(
            f"secret of the build: {name} of this shell{'' if is_set else ', which is not set: the build gets none'}"
        )
    if foreign := unpinned(settings, targets):
        console.warn(f"not pinned, so that another build may take another: {', '.join(foreign)}; {PIN}")
    cache_to = exported_caches(settings, host)
    references = bases.prepare(settings.root, settings.build.bases, contexts(settings), host)
    before = {target.image: host.engine.layers(target.image) for target in targets}
    with tempfile.TemporaryDirectory(prefix="ops-build-") as folder:
        metadata = Path(folder, "metadata.json")
        words = bake.arguments(
            str(settings.root / settings.bake), targets, references, str(metadata),
            platform=settings.build.platform, cache_from=settings.build.cache_from, cache_to=cache_to,
            no_cache=no_cache,
        )  # fmt: skip
        act = without_shell(settings, Command(words, variables(settings, source) | WITHOUT_GIT))
        progress = run_bake(act, settings.root, host)
        metadata_of = json.loads(metadata.read_text())
    images = tuple(describe(target, metadata_of[target.name], progress, host) for target in targets)
    enforce_budget(targets, images, before)
    return Built(source.revision, source.commit, images, time.monotonic() - started)


def require_buildx(host: LocalHost) -> None:
    """Refuse a Docker client without buildx."""
    if host.try_run(docker("buildx", "version"), timeout=20).returncode:
        then = "apt-get install docker-buildx (or docker-buildx-plugin)"
        raise Refused("docker has no buildx plugin", where=host.name, then=then, slug="builder-missing")


@cache
def uses_containerd_store(host: Host) -> bool:
    """Tell whether the engine keeps images in containerd: only there manifest digests are kept."""
    return "io.containerd.snapshotter" in host.run(docker("info", "--format", "{{json .DriverStatus}}"), timeout=20)


def exported_caches(settings: Settings, host: LocalHost) -> list[str]:
    """Return where caches are exported to: nowhere on the classic store, with a warning."""
    if uses_containerd_store(host):
        return settings.build.cache_to
    console.warn("classic image store: no cache export, no reproducible manifest digests; inv doctor prints the change")
    return []


def contexts(settings: Settings) -> list[str]:
    """Return the base images that this app's Dockerfiles and compose files (BASE_NAME) ask for, by name."""
    files = sorted((settings.root / Path(settings.bake).parent).glob("*.Dockerfile"))
    named = {name for path in files for name in dockerfile.images(text_of(path))}
    text = "\n".join(text_of(settings.root / name) for name in settings.compose)
    declared = bases.read(settings.root)
    return [name for name in declared if name in named or re.search(rf"\b{bases.variable(name)}\b", text)]


def text_of(path: Path) -> str:
    """Read a file, none where it is not there: names of bases are ASCII, what else it has may be in any encoding."""
    return path.read_text(encoding="utf-8-sig", errors="replace") if path.is_file() else ""


def unpinned(settings: Settings, targets: Iterable[bake.Target]) -> list[str]:
    """Name the images that Dockerfiles are made of and that are neither bases nor pinned by digest, with the file.

    What reads a Dockerfile (`# syntax=`) is never a base: Bake's contexts do not take its place.
    """
    declared, named = bases.read(settings.root), set[str]()
    for target in targets:
        text = text_of(settings.root / target.dockerfile) if target.dockerfile else ""
        images = {*dockerfile.images(text, target.arguments)} - declared.keys() - {*target.contexts}
        images |= {*filter(None, [dockerfile.frontend(text, target.arguments)])}
        named |= {f"{image} ({target.dockerfile})" for image in images if "@sha256:" not in image}
    return sorted(named)


def variables(settings: Settings, source: checkout.Checkout) -> dict[str, str]:
    """Return the environment variables that the bake file reads: the environment's own, and what is built of."""
    return {
        **settings.variables,
        "SOURCE_DATE_EPOCH": bake.LAYER_TIME,
        "VERSION": source.revision,
        "REVISION": source.commit,
        "CREATED": source.time,
        "CA": str(settings.build.extra_ca),
    }


def declared(settings: Settings) -> list[str]:
    """Name the variables of the bake file: Bake would take each from the shell, whatever its value there is."""
    return bake.variables(text_of(settings.root / settings.bake))


def secrets(settings: Settings) -> tuple[str, ...]:
    """Name the variables of this shell that builds get as secrets."""
    return bake.secrets(text_of(settings.root / settings.bake))


def without_shell(settings: Settings, act: Command) -> Command:
    """Return a call of Bake that sees the environment's own variables, and of the shell what builds get as secrets."""
    given = {name: Secret(os.environ[name]) for name in secrets(settings) if name in os.environ}
    seen = {**given, **settings.variables, **act.environment}
    return replace(bake.without({*declared(settings)} - seen.keys(), act), environment=seen)


def run_bake(command: Command, root: Path, host: LocalHost) -> str:
    """Run the bake, showing the steps as they start; return its raw progress."""
    with console.step("building images") as shown:
        done = host.watch(command, lambda line: shown.word(started_step(line)), folder=root)
    if done.returncode:
        what = f"the build failed:\n{bake.error_of(done.stderr, done.stderr)}"
        raise OpsError(what, where=host.name, then="fix the step above, then inv build", slug="build-failed")
    return done.stderr


def started_step(line: str) -> str:
    """Read a step's name off a line of raw progress; empty for other lines."""
    match = re.search(r'"name": "\[([^\]]+ \d+/\d+)\] (.{0,60})', line)
    return f"{match[1]}  {match[2]}" if match else ""


def describe(target: bake.Target, metadata: Mapping[str, str], progress: str, host: LocalHost) -> Image:
    """Describe a built image by its digest, not by its name: another build may have taken the name meanwhile."""
    cached, steps = bake.cached_steps(progress, target.name)
    digest = metadata["containerimage.digest"]
    return Image(
        target.image,
        digest,
        metadata.get("containerimage.config.digest", ""),
        host.engine.layers(digest),
        cached,
        steps,
    )


def enforce_budget(targets: Iterable[bake.Target], images: Iterable[Image], before: Mapping[str, Counter[str]]) -> None:
    """Raise GateClosed when an image is larger than its budget, naming the layers that grew."""
    limits = {target.image: target.budget_mb for target in targets if target.budget_mb}
    over = [image for image in images if image.name in limits and image.megabytes > limits[image.name]]
    lines = []
    for image in over:
        lines.append(f"{image.name}: {image.megabytes:.0f} MB, its budget is {limits[image.name]} MB")
        lines += grown(image.layers, before[image.name]) or grown(image.layers, Counter())
    if over:
        then = "make the layer smaller, or raise build.budget in deploy/app.toml"
        what = "\n    ".join(["an image is over its size budget:", *lines])
        raise GateClosed(what, where=", ".join(image.name for image in over), then=then, slug="image-too-large")


def grown(now: Counter[str], before: Counter[str]) -> list[str]:
    """Name the layers that grew, largest growth first."""
    return [f"  +{more / MEGABYTE:.1f} MB  {instruction[:90]}" for instruction, more in (now - before).most_common(3)]


def resolve(names: Iterable[str], built: Iterable[Image], host: Host) -> dict[str, str]:
    """Return the local id of each image that a compose file names; pull those that are not here.

    One that was built just now is taken by its digest. Raises Refused for one that is neither here nor can be pulled.
    """
    required = set(names)
    ids = {image.name: image.digest for image in built if image.name in required}
    return ids | {name: tags.identify(name, host) or tags.pull(name, host) for name in sorted(required - ids.keys())}


def build_and_keep(settings: Settings, host: LocalHost, *, no_cache: bool = False) -> Built:
    """Build every image and name it after the checkout's revision, by which `inv push` finds it."""
    built = build(settings, host, no_cache=no_cache)
    tags.keep_for(
        built.revision,
        [image.name for image in built.images],
        {image.name: image.digest for image in built.images},
        host,
    )
    return built
