"""Base images: public tags, or packages of a Debian suite unpacked here."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deploy import console
from deploy.errors import CommandFailed, Refused
from deploy.hosts.local import LocalHost
from deploy.settings import ROOT, parse
from deploy.shell import Command, command, docker

Source = Literal["public", "debian"]
FILE = "docker/bases.toml"
FOLDER = "docker/base"
CUSTOMIZE = ROOT / FOLDER / "customize.sh"
PROBE = "busybox"


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


def home(root: Path) -> Path:
    """Return the checkout whose docker/bases.toml counts: the app's own, or the toolkit's for an app without one."""
    return root if (root / FILE).exists() else ROOT


def read(root: Path) -> dict[str, Base]:
    """Read docker/bases.toml; a base's recipe is the hash of its entry and of the files it uses."""
    entries = parse(home(root) / FILE, home(root))
    return {
        name: Base(name, recipe=recipe(root, name, entry), **{**entry, "packages": tuple(entry["packages"])})
        for name, entry in entries.items()
    }


def overlay(root: Path, name: str) -> Path:
    """Return the folder of one base's own files, which need not exist: the app's, or the toolkit's."""
    return next((folder for folder in (root / FOLDER / name, ROOT / FOLDER / name) if folder.is_dir()), root / FOLDER / name)


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


def references(root: Path, wanted: str, names: Iterable[str], host: LocalHost) -> dict[str, str]:
    """Return the references of base images by name; nothing is built or pulled."""
    bases = read(root)
    chosen = {name: bases[name] for name in names if name in bases}
    if choose(wanted, chosen, host) == "public":
        return {name: base.public_reference for name, base in chosen.items()}
    return {name: base.local_tag for name, base in chosen.items()}


def prepare(root: Path, wanted: str, names: Iterable[str], host: LocalHost) -> dict[str, str]:
    """Make base images available; return their references by name."""
    bases = read(root)
    chosen = {name: bases[name] for name in names if name in bases}
    source = choose(wanted, chosen, host)
    if source == "public":
        warn_unpinned(chosen)
        return {name: base.public_reference for name, base in chosen.items()}
    missing = [base for base in chosen.values() if not present(base.local_tag, host)]
    if missing:
        require_mmdebstrap()
    # two at a time: the work is unpacking, and small machines have two cores
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda base: build(base, root, host), missing))
    return {name: base.local_tag for name, base in chosen.items()}


def choose(wanted: str, bases: dict[str, Base], host: LocalHost) -> Source:
    """Settle `auto`: what was built here before, else a registry that answers, else Debian packages."""
    if wanted == "public" or wanted == "debian":
        return wanted  # type: ignore[return-value]  # narrowed by the comparison, which mypy does not follow for str
    if all(present(base.local_tag, host) for base in bases.values()):
        return "debian"
    if registry_answers(bases, host):
        console.say("base images: public tags (an image registry answers)")
        return "public"
    console.say("base images: built here from Debian packages (no image registry answers)")
    return "debian"


def registry_answers(bases: dict[str, Base], host: LocalHost) -> bool:
    """Ask for the smallest public tag."""
    tag = bases[PROBE].public_reference if PROBE in bases else next(iter(bases.values())).public_reference
    try:
        return host.try_run(docker("buildx", "imagetools", "inspect", tag), timeout=20).returncode == 0
    except CommandFailed:
        return False


def present(tag: str, host: LocalHost) -> bool:
    """Tell whether the engine has an image under this name."""
    return host.try_run(docker("image", "inspect", "--format", "{{.Id}}", tag)).returncode == 0


def warn_unpinned(bases: dict[str, Base]) -> None:
    """Say which public tags may change under our feet."""
    unpinned = sorted({base.public for base in bases.values() if not base.digest})
    if unpinned:
        console.warn(f"not pinned by digest: {', '.join(unpinned)}; `inv images.pin` resolves and writes the digests")


def require_mmdebstrap() -> None:
    """Refuse to build bases without the tool that unpacks packages."""
    if not shutil.which("mmdebstrap"):
        raise Refused("base images need mmdebstrap, since no image registry answers", then="apt-get install mmdebstrap uidmap")


def build(base: Base, root: Path, host: LocalHost) -> None:
    """Build one base image from Debian packages."""
    title = f"base image {base.name} ({base.suite}: {', '.join(base.packages[:3])})"
    # uncompressed: gzip would take longer than everything else here (9.8 s against 3.8 s for 174 MB)
    output = f"type=image,name={base.local_tag},compression=uncompressed"
    with console.step(title), tempfile.TemporaryDirectory(prefix="ops-base-") as folder:
        host.run(unpack(base, root, Path(folder, "rootfs.tar")), timeout=900)
        Path(folder, "Dockerfile").write_text("FROM scratch\nADD rootfs.tar /\n")
        host.run(docker("buildx", "build", "--provenance=false", "--output", output, folder))


def unpack(base: Base, root: Path, tar: Path) -> Command:
    """Return the mmdebstrap command for one base; its default mirror is the machine's own. Pure."""
    own = overlay(root, base.name)
    hook = f'"{CUSTOMIZE}" "$1"' + (f' "{own}"' if own.is_dir() else "")
    # the variant that only unpacks never comes to the customize hooks
    when = "extract" if base.variant == "extract" else "customize"
    return command(
        "mmdebstrap", "--quiet", f"--variant={base.variant}", f"--include={','.join(base.packages)}",
        f"--{when}-hook={hook}",
        # a mirror of the testing suite may lag behind the date its index is valid until
        '--aptopt=Acquire::Check-Valid-Until "false"',
        base.suite, str(tar),
    )  # fmt: skip


def pin(root: Path, host: LocalHost) -> dict[str, str]:
    """Resolve every public tag to its digest and write it into docker/bases.toml; return what was written."""
    path = home(root) / FILE
    text = path.read_text()
    found: dict[str, str] = {}
    for base in read(root).values():
        ask = docker("buildx", "imagetools", "inspect", base.public, "--format", "{{json .Manifest}}")
        try:
            found[base.name] = json.loads(host.run(ask, timeout=60))["digest"]
        except CommandFailed as error:
            raise Refused(f"{base.public} cannot be resolved:\n{error.output}", then="inv images.pin, where a registry answers") from None
    for base in read(root).values():
        text = text.replace(f'digest = "{base.digest}"\n', "") if base.digest else text
    for base in read(root).values():
        head, line, rest = text.partition(f"[{base.name}]")
        first, _, others = rest.partition(f'public = "{base.public}"\n')
        text = f'{head}{line}{first}public = "{base.public}"\ndigest = "{found[base.name]}"\n{others}'
    host.write(path, text)
    return found
