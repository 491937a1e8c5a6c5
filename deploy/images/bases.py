"""Base images: public tags, or packages of a Debian suite unpacked here."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import tomlkit

from deploy.config import text
from deploy.config.loader import parse
from deploy.config.settings import ROOT
from deploy.core import console
from deploy.core.errors import CommandFailed, Refused, nearest, refuse
from deploy.core.shell import Command, command, docker
from deploy.hosts.local import LocalHost
from deploy.images.bake import LAYER_TIME

Source = Literal["public", "debian"]
RequestedSource = Source | Literal["auto"]
FILE = "docker/bases.toml"
FOLDER = "docker/base"
CUSTOMIZE = ROOT / FOLDER / "customize.sh"
INSTRUCTIONS = "instructions"  # of a base: lines of its Dockerfile, such as ENTRYPOINT and CMD
PROBE = "busybox"
KEYS = {"public": str, "digest": str, "suite": str, "variant": str, "packages": list}  # of an entry
WORDS = {str: "text", list: "list"}


@dataclass(frozen=True)
class Base:
    """One base image: a public tag, and the packages that stand in for it."""

    name: str
    public: str
    suite: str
    variant: str
    packages: tuple[str, ...]
    digest: str = ""
    recipe: str = ""

    @property
    def local_tag(self) -> str:
        """The name of the image built here: the same recipe is never built twice."""
        return f"ops-base/{self.name}:{self.recipe}"

    @property
    def public_reference(self) -> str:
        """The public image, by digest once it was resolved."""
        return f"{self.public}@{self.digest}" if self.digest else self.public


def homes(root: Path) -> list[Path]:
    """Return the checkouts with a docker/bases.toml: the toolkit's, and the app's own where it has one."""
    return [ROOT, *([root] if root != ROOT and (root / FILE).exists() else [])]


def read(root: Path) -> dict[str, Base]:
    """Read the toolkit's docker/bases.toml and the app's, whose entries win; raise Refused with every mistake at once.

    A base's recipe is the hash of its entry and of the files it uses.
    """
    entries = {name: entry for home in homes(root) for name, entry in parse(home / FILE, home).items()}
    wrong = [f"{name}: {words}" for name, entry in entries.items() for words in problems(entry)]
    then = f"the entries of {ROOT / FILE} are examples"
    refuse(f"{FILE} has mistakes:", wrong, where=FILE, then=then, slug="settings-invalid")
    return {
        name: Base(name, recipe=recipe(root, name, entry), **{**entry, "packages": tuple(entry["packages"])})
        for name, entry in entries.items()
    }


def problems(entry: Any) -> list[str]:
    """Return what is wrong with one entry: keys that are missing, unknown, or of another type. Pure."""
    if not isinstance(entry, dict):
        return ["it must be a section, [NAME]"]
    wrong = [f"{key} is missing" for key in KEYS if key not in entry and key != "digest"]
    wrong += [f"unknown key {key}{nearest(key, KEYS)}" for key in entry if key not in KEYS]
    return wrong + [f"{key} must be a {WORDS[kind]}" for key, kind in KEYS.items()
                    if not isinstance(entry.get(key, kind()), kind)]  # fmt: skip


def overlay(root: Path, name: str) -> Path:
    """Return the folder of one base's own files, which need not exist: the app's, or the toolkit's."""
    return next(
        (folder for folder in (root / FOLDER / name, ROOT / FOLDER / name) if folder.is_dir()), root / FOLDER / name
    )


def variable(name: str) -> str:
    """Return the variable by which compose files name a base image."""
    return f"BASE_{name.upper().replace('-', '_')}"


def recipe(root: Path, name: str, entry: dict[str, object]) -> str:
    """Hash what a base is made from: 12 hex digits."""
    debian = {key: value for key, value in sorted(entry.items()) if key not in ("public", "digest")}
    digest = hashlib.sha256(repr(debian).encode())
    for file in (CUSTOMIZE, *sorted(overlay(root, name).glob("*"))):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def references(root: Path, requested: RequestedSource, names: Iterable[str], host: LocalHost) -> dict[str, str]:
    """Return the references of base images by name; nothing is built or pulled."""
    declared = read(root)
    chosen = [declared[name] for name in names if name in declared]
    public = choose_source(requested, chosen, host) == "public"
    return {base.name: base.public_reference if public else base.local_tag for base in chosen}


def prepare(root: Path, requested: RequestedSource, names: Iterable[str], host: LocalHost) -> dict[str, str]:
    """Make base images available; return their references by name."""
    declared, chosen = read(root), references(root, requested, names, host)
    unpinned = sorted({reference for name, reference in chosen.items() if reference == declared[name].public})
    if unpinned:
        console.warn(f"base images are not pinned by digest: {', '.join(unpinned)}; to pin them: inv images.pin")
    built = (declared[name] for name, reference in chosen.items() if reference == declared[name].local_tag)
    missing = [base for base in built if not present(base.local_tag, host)]
    if missing:
        require_mmdebstrap()
    # two at a time: the work is unpacking, and small machines have two cores
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda base: build(base, root, host), missing))
    return chosen


def choose_source(requested: RequestedSource, bases: list[Base], host: LocalHost) -> Source:
    """Resolve `auto`: what was built here before, else a registry that answers, else Debian packages."""
    if requested != "auto":
        return requested
    if all(present(base.local_tag, host) for base in bases):
        return "debian"
    if registry_answers(bases, host):
        console.say("base images: public tags (an image registry answers)")
        return "public"
    console.say("base images: built here from Debian packages (no image registry answers)")
    return "debian"


def registry_answers(bases: list[Base], host: LocalHost) -> bool:
    """Ask for the smallest public tag."""
    smallest = min(bases, key=lambda base: base.name != PROBE)
    try:
        return (
            host.try_run(docker("buildx", "imagetools", "inspect", smallest.public_reference), timeout=20).returncode
            == 0
        )
    except CommandFailed:
        return False


def present(tag: str, host: LocalHost) -> bool:
    """Tell whether the engine has an image under this name."""
    return host.engine.has_image(tag)


def require_mmdebstrap() -> None:
    """Refuse to build bases without the tool that unpacks packages."""
    if not shutil.which("mmdebstrap"):
        what = "no image registry answers, and mmdebstrap, which builds base images here, is not installed"
        raise Refused(what, then="apt-get install mmdebstrap uidmap", slug="mmdebstrap-missing")


def build(base: Base, root: Path, host: LocalHost) -> None:
    """Build one base image from Debian packages."""
    title = f"base image {base.name} ({base.suite}: {', '.join(base.packages[:3])})"
    # uncompressed: gzip would take longer than everything else here (9.8 s against 3.8 s for 174 MB)
    output = f"type=image,name={base.local_tag},compression=uncompressed"
    with console.step(title), tempfile.TemporaryDirectory(prefix="ops-base-") as folder:
        host.run(unpack(base, root, Path(folder, "rootfs.tar")), timeout=900)
        Path(folder, "Dockerfile").write_text(dockerfile(base, root))
        build = docker("buildx", "build", "--provenance=false", "--output", output, folder)
        host.run(replace(build, environment={"SOURCE_DATE_EPOCH": LAYER_TIME}))


def dockerfile(base: Base, root: Path) -> str:
    """Return the Dockerfile of one base: what was unpacked, and how it is run."""
    own = overlay(root, base.name) / INSTRUCTIONS
    return f"FROM scratch\nADD rootfs.tar /\n{text.read(own, own.name) if own.exists() else ''}"


def unpack(base: Base, root: Path, tar: Path) -> Command:
    """Return the mmdebstrap command for one base; its default mirror is the machine's own. Pure."""
    own = overlay(root, base.name)
    hook = f'"{CUSTOMIZE}" "$1"' + (f' "{own}"' if (own / CUSTOMIZE.name).exists() else "")
    # the variant that only unpacks never comes to the customize hooks
    when = "extract" if base.variant == "extract" else "customize"
    words = (
        "mmdebstrap", "--quiet", f"--variant={base.variant}", f"--include={','.join(base.packages)}",
        f"--{when}-hook={hook}",
        # a mirror of the testing suite may lag behind the date its index is valid until
        '--aptopt=Acquire::Check-Valid-Until "false"',
        base.suite, str(tar),
    )  # fmt: skip
    return command(*words, SOURCE_DATE_EPOCH=LAYER_TIME)


def pin(root: Path, names: Iterable[str], host: LocalHost) -> dict[str, str]:
    """Resolve the public tags of bases to digests and write each into the docker/bases.toml that names it.

    Return the digests by base; raise Refused, and write nothing, where one cannot be resolved.
    """
    chosen = [base for name, base in read(root).items() if name in {*names}]
    digests = {tag: resolve(tag, host) for tag in sorted({base.public for base in chosen})}
    for file in (home / FILE for home in homes(root)):
        document: Any = tomlkit.parse(before := text.read(file, FILE))
        for entry in document.values():
            if entry["public"] in digests:
                write_digest(entry, digests[entry["public"]])
        if (after := tomlkit.dumps(document)) != before:
            host.write(file, after)
    return {base.name: digests[base.public] for base in chosen}


def write_digest(entry: Any, digest: str) -> None:
    """Write a digest where the entry has one, else below its tag: at its end stand comments on the next entry."""
    if "digest" in entry:
        entry["digest"] = digest
    else:
        entry.value._insert_after("public", "digest", tomlkit.item(digest))


def resolve(public: str, host: LocalHost) -> str:
    """Ask a registry for a tag's digest; raise Refused when it does not answer."""
    ask = docker("buildx", "imagetools", "inspect", public, "--format", "{{json .Manifest}}")
    try:
        return str(json.loads(host.run(ask, timeout=60))["digest"])
    except CommandFailed as error:
        what = f"the registry did not resolve {public}:\n{error.output}"
        then = "inv images.pin on a machine that reaches the registry"
        raise Refused(what, then=then, slug="image-unresolved") from None
