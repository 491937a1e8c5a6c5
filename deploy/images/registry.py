"""Bring images to hosts through a registry: pushed here by tag, pulled there by the digest that was read back."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from deploy.config import secrets
from deploy.config.settings import Settings
from deploy.core.errors import OpsError, Refused
from deploy.core.shell import LONG, Command, Secret, command, docker
from deploy.hosts.host import Host
from deploy.hosts.local import LocalHost
from deploy.images import inventory
from deploy.images.inventory import ImageTransfer
from deploy.images.ship import FULL, UNTOUCHED, Shipped

PASSWORD = "REGISTRY_PASSWORD"  # noqa: S105  # the name of one
# its input ends with the operator, or with the connection
LOGIN_FOLDER = """folder=$(mktemp --directory --tmpdir ops-login.XXXXXX) || exit
trap 'rm -rf "$folder"' EXIT
trap exit HUP INT TERM
echo "$folder"
cat
"""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between attempts


@dataclass(frozen=True)
class Cause:
    """Why a registry failed: a slug, its sentence, whether another attempt may help, and what to do."""

    slug: str
    what: str
    transient: bool
    then: str


# Docker tells causes apart in its text alone
CAUSES = {
    FULL: Cause(slug="disk-full", what="met a full disk", transient=False, then="make room there: inv disk, inv prune"),
    r"\b429\b|too ?many ?requests": Cause(
        slug="registry-busy", what="takes no more requests for now", transient=True,
        then="inv push again in some minutes",
    ),
    r"\b401\b|unauthorized|no basic auth|authentication required": Cause(
        slug="registry-unauthorized", what="refuses the user or the password", transient=False,
        then=f"fix ship.user, and {PASSWORD} in the secrets file",
    ),
    r"\b403\b|denied|forbidden": Cause(
        slug="registry-denied", what="does not let this user push or pull there", transient=False,
        then="let ship.user push and pull there, or fix ship.registry",
    ),
    r"\b5\d\d\b|internal server error|bad gateway|unavailable": Cause(
        slug="registry-error", what="has an error of its own", transient=True,
        then="read the registry's log, then inv push",
    ),
    r"\btls: |x509|certificate|HTTP response to HTTPS": Cause(
        slug="registry-untrusted", what="has no certificate that Docker trusts", transient=False,
        then="give the registry a certificate that Docker trusts",
    ),
    r"connection refused|no such host|timeout|no route|deadline|\bEOF\b|reset by peer|server misbehaving|broken pipe":
    Cause(
        slug="registry-unreachable", what="cannot be reached", transient=True,
        then="fix ship.registry or the network, then inv push",
    ),
}  # fmt: skip
UNKNOWN = Cause(slug="registry-failed", what="failed for another reason", transient=False, then="inv doctor")


@dataclass(frozen=True)
class Account:
    """The user of a registry."""

    registry: str
    user: str
    password: Secret

    @property
    def address(self) -> str:
        """The registry itself, without the path in it."""
        return self.registry.partition("/")[0]


def account(settings: Settings) -> Account:
    """Read the registry's user; raise Refused for one without a password."""
    who = Account(settings.ship.registry, settings.ship.user, Secret(secrets.own(settings, PASSWORD)))
    if who.user and not who.password:
        what, then = f"ship.user is set, but {PASSWORD} is not", f"add {PASSWORD} to {settings.secrets_name}"
        raise Refused(what, where=str(settings.secrets_file), then=then, slug="registry-password-missing")
    return who


def place(registry: str, kept: str) -> str:
    """Return the name of an image in a registry; the registry that it comes from is left out. Pure."""
    first, _, rest = kept.partition("/")
    return f"{registry}/{rest if rest and re.search(r'[.:]|^localhost$', first) else kept}"


@contextmanager
def logged_in(who: Account, host: Host) -> Iterator[tuple[str, ...]]:
    """Yield the options of a Docker client that is logged in; the login is removed, also when the operator is gone."""
    with host.open(command("sh", "-c", LOGIN_FOLDER), stdin_open=True) as keeping:
        folder = keeping.stdout.readline().decode(errors="replace").strip() if keeping.stdout else ""
        if not folder.startswith("/"):
            what, then = f"no folder for the registry's login could be made: {folder}", "inv disk, then inv push"
            raise OpsError(what, where=host.name, serves=UNTOUCHED, then=then, slug="login-folder-failed")
        options = ("--config", folder)
        if who.user:
            login = docker(*options, "login", "--username", who.user, "--password-stdin", who.address)
            with_retries(login, who, host, stdin="".join(who.password))
        yield options


def with_retries(request: Command, who: Account, host: Host, *, stdin: str | None = None) -> str:
    """Run a command that asks the registry, again when that may help; raise OpsError with the cause."""
    pauses = list(PAUSES)
    while (done := host.try_run(request, stdin=stdin, timeout=LONG)).returncode:
        why = cause(done.output)
        if not (why.transient and pauses):
            what = f"the registry {who.address} {why.what}:\n{done.output}"
            raise OpsError(what, where=host.name, serves=UNTOUCHED, then=why.then, slug=why.slug)
        pause(host, pauses.pop(0))
    return done.stdout


def pause(host: Host, seconds: float) -> None:
    """Wait on the host, so that whatever ends the work there ends the pause too."""
    host.run(command("sleep", str(seconds)))


def cause(output: str) -> Cause:
    """Return what Docker's error text means. Pure."""
    return next((cause for pattern, cause in CAUSES.items() if re.search(pattern, output, re.IGNORECASE)), UNKNOWN)


def publish(transfers: Sequence[ImageTransfer], who: Account, here: LocalHost) -> tuple[ImageTransfer, ...]:
    """Push images from here; return them with the digests that the registry has them under."""
    classic = inventory.observe(here).classic
    with logged_in(who, here) as options:
        return tuple(publish_one(transfer, who, here, classic, options) for transfer in transfers)


def publish_one(
    transfer: ImageTransfer,
    who: Account,
    here: LocalHost,
    classic: bool,
    options: tuple[str, ...],
) -> ImageTransfer:
    """Push one image and prove that its digest is what was built.

    The classic store keeps no manifest: an image built there gets its digest from the push, a pulled one gets another.
    """
    name = place(who.registry, transfer.kept)
    repository = name.rpartition(":")[0]
    origin = json.loads(here.run(docker("image", "inspect", "--format", "{{json .RepoDigests}}", transfer.kept))) or []
    if classic and origin and not any(digest.startswith(f"{repository}@") for digest in origin):
        what = f"{transfer.name} was pulled; pushed again from the classic image store it would get another digest"
        then = "use the containerd image store here (inv doctor prints the change), or ship.by = ssh"
        raise Refused(what, where=here.name, then=then, slug="image-store-classic")
    here.run(docker("tag", transfer.kept, name))
    try:
        stdout = with_retries(docker(*options, "push", name), who, here)
    finally:
        if name != transfer.kept:  # an app may name its images as they are named there
            here.try_run(docker("image", "rm", name))
    pushed = re.search(r"digest: (sha256:[0-9a-f]{64})", stdout)
    if not pushed or (not classic and pushed[1] != transfer.image.digest):
        what = f"{name} was built as {transfer.image.digest}, the registry has {pushed[1] if pushed else 'none'}"
        raise OpsError(what, where=who.address, serves=UNTOUCHED, then="inv push", slug="digest-mismatch")
    return replace(transfer, image=transfer.image.model_copy(update={"digest": pushed[1]}))


def fetch(transfers: Sequence[ImageTransfer], revision: str, state_dir: Path, who: Account, host: Host) -> Shipped:
    """Pull images on one host by digest, prove them, write the record of them there."""
    started, present = time.monotonic(), inventory.observe(host)
    lacking = [transfer for transfer in transfers if not present.has(transfer.image)]
    if lacking:
        with logged_in(who, host) as options:
            for transfer in lacking:
                fetch_one(transfer, who, host, options)
        present = inventory.observe(host)
    missing = [transfer.name for transfer in transfers if not present.has(transfer.image)]
    if missing:
        what = f"images were pulled, but {host.name} does not have them by their digests: {', '.join(missing)}"
        raise OpsError(what, where=host.name, serves=UNTOUCHED, then="inv push", slug="images-incomplete")
    inventory.record(host, state_dir, revision, transfers, present)
    return Shipped(host.name, len(transfers), None, None, time.monotonic() - started)


def fetch_one(transfer: ImageTransfer, who: Account, host: Host, options: tuple[str, ...]) -> None:
    """Pull one image and tag it with its name on every host, which does not mention the registry.

    Another push of the same image may have taken the pulled name off meanwhile: then it has a name of that push's.
    """
    pulled = f"{place(who.registry, transfer.kept).rpartition(':')[0]}@{transfer.image.digest}"
    with_retries(docker(*options, "pull", "--quiet", pulled), who, host)
    if host.try_run(docker("tag", pulled, transfer.kept)).returncode:
        host.run(docker("tag", inventory.observe(host).id(transfer.image), transfer.kept))
    host.try_run(docker("image", "rm", pulled))
