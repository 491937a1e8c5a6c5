"""What was there before: the findings of another commit, by the scanners, the database and the settings of today."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from deploy.config import checkout
from deploy.config.environment import Environment
from deploy.config.loader import load
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import CommandFailed, OpsError, Refused
from deploy.core.shell import docker
from deploy.hosts.local import LocalHost
from deploy.images import build, tags
from deploy.security import judge, waivers
from deploy.security.findings import Inspection, severe
from deploy.security.judge import Strict
from deploy.security.waivers import Waivers

Look = Callable[[Environment], list[Inspection]]


def fingerprints(at: Environment, commit: str, strict: Strict, look: Look) -> Counter[str]:
    """Return the findings of a commit, whose images are built where they are not here; raise Refused for none.

    Only those that count today, and what is wrong with its waivers. What cannot be looked at there excuses nothing.
    """
    if strict.fails:
        what = f"an earlier commit excuses nothing here: {strict.by}"
        raise Refused(what, where="--against", then="inv scan without --against", slug="base-not-allowed")
    with checked_out(at.settings.root, commit, at.here) as root:
        try:
            before = at._replace(settings=load(at.settings.env, root))
        except Refused as error:
            console.warn(f"{commit} has no settings to look at it with, so that all counts as new: {error.what}")
            return Counter()
        with images(at, before) as replaced:
            inspections = look(before)
        of_waivers = judge.judge_waivers(accepted(root), inspections, {}).inspection.findings
        findings = (finding for one in inspections for finding in one.findings if finding.where not in replaced)
        counting = (finding for finding in findings if severe(finding.severity, at.settings.scan.severity))
        return Counter(finding.fingerprint for finding in (*counting, *of_waivers))


def accepted(root: Path) -> Waivers:
    """Read the waivers of a commit as of today; none where its file is not TOML."""
    try:
        return waivers.read(root, datetime.now(UTC).date())
    except Refused:
        return Waivers()


@contextmanager
def checked_out(root: Path, commit: str, here: LocalHost) -> Iterator[Path]:
    """Check a commit out elsewhere, and take it away again; the person's checkout is only read."""
    try:
        asked = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}")
        name = here.run(checkout.git(root, *asked)).strip()
        top, below = (
            here.run(checkout.git(root, "rev-parse", f"--show-{what}")).strip() for what in ("toplevel", "prefix")
        )
    except CommandFailed:
        what, then = f"there is no commit {commit} in this checkout", "git fetch --unshallow; or --against=origin/main"
        raise Refused(what, where="--against", then=then, slug="base-unreadable") from None
    with tempfile.TemporaryDirectory(prefix="ops-against-") as folder:
        here.run(checkout.git(root, "clone", "--quiet", "--shared", "--no-checkout", top, folder))
        here.run(checkout.git(Path(folder), "checkout", "--quiet", "--detach", name))
        yield Path(folder, below)


@contextmanager
def images(at: Environment, before: Environment) -> Iterator[list[str]]:
    """Build the images of a commit where ours are here and its own are not; yield those that can only be ours.

    Afterwards their names are off again, and ours are ours. An image with a tag of its own is here once, for whatever
    commit, and a build would take its name.
    """
    revision, missing, replaced = checkout.read(before.settings.root, before.here).revision, list[str](), list[str]()
    try:
        replaced = [name for name in own(*at.machine) if tags.kept(name, revision) == name]
        if replaced:
            why = f"{', '.join(replaced)} has a tag of its own, which {at.settings.bake} need not give it"
            console.warn(f"the images of {revision} are not built, so that what is in ours counts as new: {why}")
        missing = lacking(own(*before.machine), revision, at.here) if are_built(at) and not replaced else []
        if missing:
            console.say(f"images of {revision}, which this is compared with:")
            build.build_and_keep(*before.machine)
    except OpsError as error:
        console.warn(f"the images of {revision} cannot be built, so that what is in ours counts as new: {error.what}")
    try:
        yield replaced
    finally:
        tags.prune_release(missing, revision, at.here)
        if missing:
            name_again(at)


def are_built(at: Environment) -> bool:
    """Tell whether an image of this checkout is here: where none is there is nothing to compare."""
    names, revision = own(*at.machine), checkout.read(at.settings.root, at.here).revision
    return len(lacking(names, revision, at.here)) < len(names)


def lacking(names: Iterable[str], revision: str, here: LocalHost) -> list[str]:
    """Name the images of a revision that are not here."""
    return [name for name in names if not tags.identify(tags.kept(name, revision), here)]


def own(settings: Settings, here: LocalHost) -> list[str]:
    """Name the images that a checkout's bake file builds."""
    return [target.image for target in build.read_targets(settings, here)]


def name_again(at: Environment) -> None:
    """Give the images of this checkout the names back that a build of another took."""
    revision = checkout.read(at.settings.root, at.here).revision
    for name in own(*at.machine):
        if identity := tags.identify(tags.kept(name, revision), at.here):
            at.here.run(docker("tag", identity, name))
