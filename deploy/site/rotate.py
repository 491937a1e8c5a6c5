"""One secret changed: revoked on the hosts, then written where the secrets come from."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from getpass import getpass

from deploy.config import secrets
from deploy.config.environment import Environment
from deploy.config.secrets import envfile, rotate, values
from deploy.config.secrets.edit import require_unchanged
from deploy.config.secrets.rotate import PREVIOUS, Rotation
from deploy.config.secrets.source import Source
from deploy.core import console
from deploy.core.errors import Refused
from deploy.site.interrupted import require_no_other
from deploy.site.locked import locked
from deploy.state.store import state_of

COMMAND = "secrets.rotate"


def change(at: Environment, key: str, *, finish: bool = False) -> None:
    """Change one secret, or `finish` what a pair KEY and KEY_PREVIOUS has begun; a deploy puts it into service.

    The old value is revoked on every host first, but for a pair's, which is when that is finished: no rollback brings
    it back. Raises Refused where something besides the app holds the secret, Interrupted where a resume might go on to
    a release that has the old value.
    """
    source = secrets.source_of(at.settings)
    source.require_writable()
    text = source.read()
    if text is None:
        raise values.absent(source, at.settings)
    own = envfile.values(envfile.entries(text))
    rotation = rotate.finished(text.content, key) if finish else begun(at, key, text.content, own)
    envfile.entries(source.text(rotation.content))
    fingerprints = {name: secrets.fingerprint(value) for name, value in rotation.revoked.items()}
    with locked(at, COMMAND):
        require_no_other(at, COMMAND)
        require_unchanged(source, text, f"inv secrets.rotate {key}{' --finish' if finish else ''}")
        at.each(lambda host: state_of(at, host).revoke(fingerprints) if fingerprints else None)
        source.write(rotation.content, at.here)
    report(source, key, rotation)


def begun(at: Environment, key: str, content: str, own: Mapping[str, str]) -> Rotation:
    """Choose a new value, or ask for it; raise Refused where the rotation before is not finished."""
    example, previous = values.documented(at.settings.root / secrets.EXAMPLE), key + PREVIOUS
    rotate.require_rotatable(key, own, example)
    if own.get(previous):
        what, then = f"{previous} still holds the value of the rotation before", f"inv secrets.rotate {key} --finish"
        raise Refused(what, where=key, then=then, slug="rotation-not-finished")
    new = rotate.random_value() if rotate.is_random(example.values.get(key, "")) else typed(key)
    return rotate.rotated(content, key, new, pair=previous in {*own, *example.keys})


def typed(key: str) -> str:
    """Read a new value from a person, without echo, or from standard input; raise Refused when it is empty."""
    asked = sys.stdin and sys.stdin.isatty()
    value = getpass(f"the new value of {key}: ") if asked else sys.stdin.read() if sys.stdin else ""
    value = value.removeprefix("\ufeff").rstrip("\r\n")  # of the file that it was in
    if not value:
        what = f"{secrets.EXAMPLE} has no <random NAME> for {key}: somebody else gives its value, and none was given"
        raise Refused(what, where=key, then=f"inv secrets.rotate {key} < FILE", slug="secret-not-given")
    return value


def report(source: Source, key: str, rotation: Rotation) -> None:
    """Say what changed, what the old value is worth until and after the next deploy, and the next command."""
    console.say(f"{source.name}: {', '.join(rotation.changed)} changed")
    if not rotation.pair:
        console.warn(f"the app holds one {key}: what the old one signed or opened ends with the switch of the deploy")
    if rotation.revoked or not rotation.pair:
        console.say(
            "the old value is revoked: no rollback brings it back. Next: inv deploy; end it where it was issued"
        )
    else:
        console.say(
            f"the app takes both. Next: inv deploy; when nothing old is in use inv secrets.rotate {key} --finish"
        )
