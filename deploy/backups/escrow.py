"""What must be kept where the host's end does not reach: without it no backup can be read."""

from __future__ import annotations

import hashlib
import json
import secrets as random
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from deploy.backups.repository import Repository, repository_of
from deploy.config import secrets
from deploy.config.environment import Environment
from deploy.config.settings import Settings
from deploy.core import console
from deploy.core.errors import OpsError, Refused, acting
from deploy.core.model import Kept
from deploy.hosts.host import Host
from deploy.site.checks import Check
from deploy.site.run import Run
from deploy.state import kept, locks
from deploy.state.folder import now
from deploy.state.store import State

FILE = "escrow.json"  # of the state folder: who confirmed what, and when
KEYS = ("RESTIC_PASSWORD", "BACKUP_SSH_KEY", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
WORD, ASKED = "stored", "backup escrow"


class Confirmation(Kept):
    """That somebody stored a sheet: a salted hash of it, when, and who."""

    salt: str
    hash: str
    time: str
    who: str


@dataclass(frozen=True)
class Sheet:
    """What is needed to read the backups of an environment."""

    env: str
    places: Mapping[str, str]  # repositories and the host keys of their servers, by the settings' names
    secrets: Mapping[str, str]

    @property
    def document(self) -> dict[str, object]:
        """The sheet for programs; it holds secrets."""
        return {"env": self.env, "backup": dict(self.places), "secrets": dict(self.secrets), "next": self.then}

    @property
    def then(self) -> str:
        """How the environment comes back from it."""
        return f"git clone the app, python3 scripts/bootstrap.py, inv backup.rebuild --env={self.env} --escrow=FILE"

    @property
    def text(self) -> str:
        """The sheet for people."""
        places = [f'{name} = "{value}"' for name, value in self.places.items()]
        values = [f"{name}={value}" for name, value in self.secrets.items()]
        return "\n".join([f"backups of {self.env}", *places, *values, f"to rebuild: {self.then}"])

    def hashed(self, salt: str) -> str:
        """Hash what the sheet says; slow on purpose, since whoever has the host's disk may guess."""
        text = json.dumps([self.places, self.secrets], sort_keys=True).encode()
        return hashlib.scrypt(text, salt=bytes.fromhex(salt), n=2**14, r=8, p=1, dklen=16).hex()


def sheet_of(repository: Repository) -> Sheet:
    """Return what is needed to read the backups that the release which serves takes."""
    given = secrets.rendered(repository.run.bundle.env)
    backup = repository.run.settings.backup
    places = {"repository": repository.address, "offsite": repository.offsite}
    keys = {"repository_key": backup.repository_key, "offsite_key": backup.offsite_key}
    return Sheet(
        repository.run.settings.env,
        {name: value for name, value in {**places, **keys}.items() if value},
        {key: given[key] for key in KEYS if given.get(key)},
    )


def escrow(at: Environment, *, yes: bool, json: bool) -> None:
    """Show what must be kept elsewhere, ask whether it was stored, and remember that; never the sheet itself."""
    if not json and not sys.stdout.isatty():
        what = "it prints secrets, and stdout is no terminal"
        then = "inv backup.escrow on a terminal, or --json --yes into the store itself"
        raise Refused(what, where="inv backup.escrow", then=then, slug="wrong-usage")
    repository = repository_of(at)
    sheet = sheet_of(repository)
    console.document(sheet.document, unread(at)) if json else console.lines(())("", sheet.text)
    console.confirm("Is it where the end of this machine and of the host does not reach?", yes=yes, word=WORD)
    salt = random.token_hex(16)
    line = Confirmation(salt=salt, hash=sheet.hashed(salt), time=now(), who=locks.who())
    repository.run.host.write(at.settings.state_dir / FILE, kept.dump(line), mode=0o600)
    console.say(acting("noted; inv doctor says when it changed since", at.settings.env), "green")


def unread(at: Environment) -> OpsError:
    """Say that the program that was to store the sheet ended before it had read it."""
    what = "whatever reads the sheet ended before it had read it: nothing is noted as stored"
    then = "see why it ended, then inv backup.escrow --json --yes into it again"
    return OpsError(what, where=at.settings.env, then=then, slug="escrow-not-stored")


def checks(settings: Settings, host: Host) -> list[Check]:
    """Check that somebody stored what is needed to read a host's backups; nothing where it takes none."""
    state = State(host, settings.state_dir)
    try:
        bundles = [state.bundle(release) for release in state.served()[:1]]
    except OpsError as error:
        return [Check(ASKED, "UNKNOWN", error.what, error.then, advice=True)]
    saved = [(bundle, service) for bundle in bundles for service in bundle.release.of("backup")]
    sheets = [sheet_of(Repository(Run(settings, host, bundle), service)) for bundle, service in saved]
    return [judge(sheet, confirmed(state)) for sheet in sheets]


def confirmed(state: State) -> Confirmation | None:
    """Return what was confirmed on a host; None where nothing was, or it cannot be read."""
    with suppress(OpsError):
        return state.value(Confirmation, FILE)
    return None


def judge(sheet: Sheet, confirmation: Confirmation | None) -> Check:
    """Judge whether what is needed now was stored. Pure."""
    then = "inv backup.escrow, and store what it prints elsewhere"
    if not confirmation:
        what = "nobody confirmed that the password of the backups is kept elsewhere"
        return Check(ASKED, "FAIL", what, then, advice=True)
    if sheet.hashed(confirmation.salt) != confirmation.hash:
        what = f"the password, the keys or the places of the backups changed since {confirmation.time}"
        return Check(ASKED, "FAIL", what, then, advice=True)
    return Check(ASKED, "PASS", f"stored {confirmation.time} by {confirmation.who}")
