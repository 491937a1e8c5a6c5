"""What is wrong with an environment's secrets, and with what the compose files take from elsewhere; never a value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from deploy.config import compose, secrets
from deploy.config.environment import Environment
from deploy.config.secrets import envfile, rules, values
from deploy.config.secrets.edit import recipients_changed
from deploy.config.secrets.source import AgeFile, Source
from deploy.config.settings import Settings
from deploy.core.errors import OpsError
from deploy.core.shell import query
from deploy.release import desired
from deploy.site.checks import Check

if TYPE_CHECKING:
    from dotenv.parser import Binding

# what programs in the images of others read, and no file of the app names
OF_PROGRAMS = ("RESTIC_", "AWS_", "PG", "POSTGRES_")
UNSEEN = ("missing", "placeholders", "weak", "used", "compose files")


def examine(at: Environment) -> list[Check]:
    """Check the source, each kind of mistake, who gets the secrets, and what the compose files ask for."""
    source = secrets.source_of(at.settings)
    try:
        bindings = entries(at.settings, source)
        return [*look(at.settings, source, bindings), *ask(at, source, envfile.values(bindings))]
    except OpsError as error:
        unknown = [Check(asked, "UNKNOWN", "not looked at", error.then) for asked in UNSEEN]
        return [Check("source", "FAIL", error.what, error.then), *unknown]


def entries(settings: Settings, source: Source) -> list[Binding]:
    """Read the secrets' entries; raise Refused where there must be some and are none."""
    text = source.read()
    if text is None and ((settings.root / rules.EXAMPLE).exists() or settings.secrets.file):
        raise values.absent(source, settings)
    return envfile.entries(text) if text else []


def look(settings: Settings, source: Source, bindings: Sequence[Binding]) -> Iterator[Check]:
    """Check the secrets by themselves."""
    own = {key: value for key, value in envfile.values(bindings).items() if key not in rules.OWN}
    documented = values.documented(settings.root / rules.EXAMPLE)
    lines = {entry.key: envfile.line(entry) for entry in bindings}
    shape = [*source.exposed(), *rules.misshapen(own, documented, lines)]
    there = f"{source.name}: {len(own)} secrets, version {secrets.version(own)}"
    yield verdict("source", shape, source.then, there)
    yield from recipients(source)
    yield verdict("missing", rules.missing(own, documented), source.then, f"{len(documented.keys)} documented")
    named = set(own) - set(rules.stray(own, documented))
    chosen = [key for key in rules.placeholders(own, documented) if key in named]
    yield verdict("placeholders", chosen, source.then, f"{len(named)} looked at")
    guessable = [key for key in rules.weak(own) if key in named - set(chosen)]
    judged = sum(rules.is_secretive(key) or "://" in own[key] for key in named)
    then = "; ".join(f"inv secrets.rotate {key}" for key in guessable)
    yield verdict("weak", guessable, then, f"{judged} passwords, keys and tokens")


def recipients(source: Source) -> Iterator[Check]:
    """Check that a file is encrypted to those whom the settings name."""
    if isinstance(source, AgeFile):
        gone, new = recipients_changed(source)
        wrong = [f"{name} can still read it" for name in sorted(gone)]
        wrong += [f"{name} cannot read it yet" for name in sorted(new)]
        then = "inv secrets.edit encrypts it anew"
        yield verdict("recipients", wrong, then, ", ".join(source.recipients))


def ask(at: Environment, source: Source, found: Mapping[str, str]) -> Iterator[Check]:
    """Check the secrets against the compose files and the checkout."""
    rest = rules.stray(found, values.documented(at.settings.root / rules.EXAMPLE))
    own = [key for key in found if key not in {*rules.OWN, *rest}]
    try:
        model = desired.model(*at.machine)
    except OpsError as error:
        yield Check("used", "UNKNOWN", "the compose files could not be read", error.then)
        yield Check("compose files", "FAIL", error.what, error.then)
        return
    yield used(at, own, model)
    settings = at.settings
    left_out = compose.left_out(model, settings.root, settings.secrets_file, found, source.name)
    yield verdict("compose files", left_out, "set what they name, then inv plan", f"{len(model.services)} services")


def used(at: Environment, own: Sequence[str], model: compose.Model) -> Check:
    """Check that somebody gets the secrets, and that a tracked file names each."""
    getting = [service.name for service in model.services if service.has_secrets]
    if own and not getting:
        what = f"no service has an env_file: nobody gets {', '.join(own)}"
        return Check("used", "FAIL", what, "give env_file: [.env] to the services that need them")
    grep = query("git", "-C", str(at.settings.root), "grep", "-hoiwF", "-f", "-", "--", ":!.env*")
    found = at.here.try_run(grep, stdin="".join(f"{key}\n" for key in own))
    if own and found.returncode > 1:
        return Check("used", "UNKNOWN", "git grep failed", "git init")
    named = set(found.stdout.lower().split())
    idle = [key for key in own if key.lower() not in named and not key.startswith(OF_PROGRAMS)]
    then = f"remove them, where the app does not read them by another name: {secrets.source_of(at.settings).then}"
    evidence = f"no file that git has names {', '.join(idle)}" if idle else f"by {', '.join(getting) or 'nobody'}"
    return Check("used", "FAIL" if idle else "PASS", evidence, then if idle else "", advice=bool(idle))


def verdict(asked: str, wrong: Sequence[str], then: str, right: str) -> Check:
    """Return a FAIL that lists what is wrong, or a PASS with how much was looked at."""
    return Check(asked, "FAIL", "\n".join(wrong), then) if wrong else Check(asked, "PASS", right)
