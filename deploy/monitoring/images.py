"""The images of the monitoring stack: public ones, or one of Debian packages; and that of our own programs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.config.loader import parse
from deploy.config.settings import ROOT, Settings
from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError
from deploy.core.shell import Command, docker
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.images import bases, inventory, ship

FOLDER = ROOT / "monitoring"
FILE = FOLDER / "images.toml"
PROGRAMS = FOLDER / "programs"
DEBIAN, OWN = "monitoring", "programs"


@dataclass(frozen=True)
class Images:
    """The image of each program by name, and the name of its executable where the image does not say it."""

    references: Mapping[str, str]
    entrypoints: Mapping[str, str]


def prepare(settings: Settings, here: LocalHost) -> Images:
    """Make the stack's images available on this machine."""
    entries = parse(FILE, ROOT)
    public: dict[str, str] = dict(entries["public"])
    debian = debian_base(entries["debian"], public["prometheus"])
    own = build_programs(settings, here)
    if bases.choose_source(settings.build.bases, [debian], here) == "public":
        pulled = {**public, **entries["pulled"], OWN: own}
        return Images(pulled, dict.fromkeys(pulled, ""))
    if not bases.present(debian.local_tag, here):
        bases.require_mmdebstrap()
        bases.build(debian, ROOT, here)
    return Images({**dict.fromkeys(public, debian.local_tag), OWN: own}, {**executables(public), OWN: ""})


def debian_base(entry: Mapping[str, object], public: str) -> bases.Base:
    """Describe the image that has all programs. Pure but for the files that it is made of."""
    packages = entry["packages"]
    assert isinstance(packages, list)  # noqa: S101  # the file is ours
    made_of = bases.recipe(ROOT, DEBIAN, dict(entry))
    return bases.Base(DEBIAN, public, str(entry["suite"]), str(entry["variant"]), tuple(packages), recipe=made_of)


def executables(names: Mapping[str, str]) -> dict[str, str]:
    """Name the program that Debian has for each image. Pure."""
    return {name: name if name == "prometheus" else f"prometheus-{name}" for name in names}


def build_programs(settings: Settings, here: LocalHost) -> str:
    """Build the image of our own programs, unless it was built from the same; return its name."""
    references = bases.prepare(ROOT, settings.build.bases, ("python", "python-build"), here)
    tag = f"ops-monitoring/programs:{recipe(references)}"
    if not bases.present(tag, here):
        with console.step("building the programs of the monitoring stack"):
            build(tag, references, settings.build.extra_ca, here)
    return tag


def recipe(references: Mapping[str, str]) -> str:
    """Hash what the image of our own programs is made of: 12 hex digits."""
    digest = hashlib.sha256(repr(sorted(references.items())).encode())
    for file in sorted(file for file in PROGRAMS.iterdir() if file.is_file()):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def build(tag: str, references: Mapping[str, str], authorities: Path, here: LocalHost) -> None:
    """Build the image of our own programs; raise OpsError with the last lines of the build."""
    try:
        here.run(build_command(tag, references, authorities), timeout=900)
    except CommandFailed as error:
        what = f"the programs of the monitoring stack were not built:\n{error.output}"
        raise OpsError(what, where=here.name, then="inv monitor.up again", slug="build-failed") from None


def build_command(tag: str, references: Mapping[str, str], authorities: Path) -> Command:
    """Return the command that builds them. Pure."""
    contexts = [f"--build-context={name}=docker-image://{reference}" for name, reference in sorted(references.items())]
    secret = f"--secret=id=ca,src={authorities}"
    return docker(
        "buildx", "build", "--load", "--provenance=false", *contexts, secret, f"--tag={tag}", PROGRAMS.as_posix()
    )


def bring(images: Images, here: LocalHost, host: Host) -> None:
    """Bring the images that were built here to another host, those that it lacks; raise OpsError when they fail."""
    built = sorted({name for name in images.references.values() if name.startswith(("ops-base/", "ops-monitoring/"))})
    if isinstance(host, LocalHost):
        return
    transfers, present = inventory.find_transfers(built, built, "", here), inventory.observe(host)
    lacking = [transfer for transfer in transfers if not present.has(transfer.image)]
    if not lacking:
        return
    with console.step(f"images of the monitoring stack to {host.name}"):
        _, failure = ship.send(lacking, (), here, host, lambda _: None)
    if failure:
        what = f"the images did not arrive whole:\n{failure}"
        raise OpsError(what, where=host.name, then="inv monitor.up again", slug="images-incomplete")
