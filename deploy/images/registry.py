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
from deploy.images import stock
from deploy.images.ship import FULL, UNTOUCHED, Shipped
from deploy.images.stock import Parcel

PASSWORD = "REGISTRY_PASSWORD"  # noqa: S105  # the name of one
# its input ends with the operator, or with the connection
KEEP = """folder=$(mktemp --directory --tmpdir ops-login.XXXXXX) || exit
trap 'rm -rf "$folder"' EXIT
trap exit HUP INT TERM
echo "$folder"
cat
"""
PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)  # seconds between attempts
# what Docker says -> what that is, whether trying again may help, what to do; Docker gives it in words alone
CAUSES = (
    (FULL, "met a full disk", False, "make room there: inv disk, inv prune"),
    (r"\b429\b|too ?many ?requests", "takes no more requests for now", True, "inv push again in some minutes"),
    (r"\b401\b|unauthorized|no basic auth|authentication required", "refuses the user or the password", False,
     f"mend ship.user, and {PASSWORD} in the secrets file"),
    (r"\b403\b|denied|forbidden", "does not let this user do that", False, "let ship.user push and pull there, or mend ship.registry"),
    (r"\b5\d\d\b|internal server error|bad gateway|unavailable", "fails by itself", True, "look at the registry's log, then inv push"),
    (r"\btls: |x509|certificate|HTTP response to HTTPS", "has no certificate that is trusted", False,
     "give the registry a certificate that Docker trusts"),
    (r"connection refused|no such host|timeout|no route|deadline|\bEOF\b|reset by peer|server misbehaving|broken pipe",
     "cannot be reached", True, "mend ship.registry or the network, then inv push"),
)  # fmt: skip


@dataclass(frozen=True)
class Account:
    """Who asks a registry."""

    registry: str
    user: str
    password: Secret

    @property
    def address(self) -> str:
        """The registry itself, without the path in it."""
        return self.registry.partition("/")[0]


def account(settings: Settings) -> Account:
    """Read who asks; raise Refused for a user without a password."""
    found = Account(settings.ship.registry, settings.ship.user, Secret(secrets.own(settings.secrets_file, PASSWORD)))
    if found.user and not found.password:
        told = f"ship.user is set and {PASSWORD} is not"
        raise Refused(told, where=str(settings.secrets_file), then=f"add {PASSWORD} to {settings.secrets_file.name}")
    return found


def place(registry: str, kept: str) -> str:
    """Return the name of an image in a registry; the registry that it comes from is left out. Pure."""
    first, _, rest = kept.partition("/")
    return f"{registry}/{rest if rest and re.search(r'[.:]|^localhost$', first) else kept}"


@contextmanager
def logged_in(who: Account, host: Host) -> Iterator[tuple[str, ...]]:
    """Yield the words before a command of a Docker client that has logged in; what it keeps of that goes, also when the operator does."""
    with host.open(command("sh", "-c", KEEP), fed=True) as keeping:
        said = keeping.stdout.readline().decode(errors="replace").strip() if keeping.stdout else ""
        if not said.startswith("/"):
            raise OpsError(f"there is no place for a login: {said}", where=host.name, serves=UNTOUCHED, then="inv disk, then inv push")
        words = ("--config", said)
        if who.user:
            login = docker(*words, "login", "--username", who.user, "--password-stdin", who.address)
            patiently(login, who, host, stdin="".join(who.password))
        yield words


def patiently(wanted: Command, who: Account, host: Host, *, stdin: str | None = None) -> str:
    """Run a command that asks the registry, again when that may help; raise OpsError with the cause."""
    pauses = list(PAUSES)
    while (done := host.try_run(wanted, stdin=stdin, timeout=LONG)).returncode:
        what, again, then = cause(done.output)
        if not (again and pauses):
            raise OpsError(f"the registry {who.address} {what}:\n{done.output}", where=host.name, serves=UNTOUCHED, then=then)
        pause(host, pauses.pop(0))
    return done.stdout


def pause(host: Host, seconds: float) -> None:
    """Wait on the host, so that what ends the work there ends this too."""
    host.run(command("sleep", str(seconds)))


def cause(output: str) -> tuple[str, bool, str]:
    """Say what Docker's complaint means, whether trying again may help, and what to do. Pure."""
    found = (meaning for pattern, *meaning in CAUSES if re.search(pattern, output, re.IGNORECASE))
    what, again, then = next(found, ("did not do it", False, "inv doctor"))
    return str(what), bool(again), str(then)


def publish(parcels: Sequence[Parcel], who: Account, here: LocalHost) -> tuple[Parcel, ...]:
    """Push images from here; return them by the digests that the registry has them under."""
    classic = stock.look(here).classic
    with logged_in(who, here) as words:
        return tuple(publish_one(parcel, who, here, classic, words) for parcel in parcels)


def publish_one(parcel: Parcel, who: Account, here: LocalHost, classic: bool, words: tuple[str, ...]) -> Parcel:
    """Push one image and prove that its digest is what was built.

    The classic store keeps no manifest: an image built there gets its digest by being pushed, one that was pulled another one.
    """
    name = place(who.registry, parcel.kept)
    repository = name.rpartition(":")[0]
    origin = json.loads(here.run(docker("image", "inspect", "--format", "{{json .RepoDigests}}", parcel.kept))) or []
    if classic and origin and not any(known.startswith(f"{repository}@") for known in origin):
        told = f"{parcel.name} was pulled; pushed again from the classic image store it would get another digest"
        raise Refused(told, where=here.name, then="use the containerd image store here (inv doctor prints the change), or ship.by = ssh")
    here.run(docker("tag", parcel.kept, name))
    try:
        said = patiently(docker(*words, "push", name), who, here)
    finally:
        if name != parcel.kept:  # an app may call its images as they are called there
            here.try_run(docker("image", "rm", name))
    found = re.search(r"digest: (sha256:[0-9a-f]{64})", said)
    if not found or (not classic and found[1] != parcel.image.digest):
        told = f"{name} was built as {parcel.image.digest}, the registry has {found[1] if found else 'none'}"
        raise OpsError(told, where=who.address, serves=UNTOUCHED, then="inv push")
    return replace(parcel, image=parcel.image.model_copy(update={"digest": found[1]}))


def fetch(parcels: Sequence[Parcel], revision: str, state_dir: Path, who: Account, host: Host) -> Shipped:
    """Pull images on one host by digest, prove them, leave the record of them there."""
    started, seen = time.monotonic(), stock.look(host)
    lacking = [parcel for parcel in parcels if not seen.has(parcel.image)]
    if lacking:
        with logged_in(who, host) as words:
            for parcel in lacking:
                fetch_one(parcel, who, host, words)
        seen = stock.look(host)
    missing = [parcel.name for parcel in parcels if not seen.has(parcel.image)]
    if missing:
        raise OpsError(f"pulled, and not there by digest: {', '.join(missing)}", where=host.name, serves=UNTOUCHED, then="inv push")
    stock.keep(host, state_dir, revision, parcels, seen)
    return Shipped(host.name, len(parcels), None, None, time.monotonic() - started)


def fetch_one(parcel: Parcel, who: Account, host: Host, words: tuple[str, ...]) -> None:
    """Pull one image and name it, so that its name says nothing of the registry."""
    pulled = f"{place(who.registry, parcel.kept).rpartition(':')[0]}@{parcel.image.digest}"
    patiently(docker(*words, "pull", "--quiet", pulled), who, host)
    host.run(docker("tag", pulled, parcel.kept))
    host.try_run(docker("image", "rm", pulled))
