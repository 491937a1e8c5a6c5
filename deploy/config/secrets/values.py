"""The secrets of one environment: read, checked, and made from the example."""

from __future__ import annotations

import re
import secrets as random
from collections import defaultdict
from pathlib import Path

from deploy.config import text
from deploy.config.secrets import envfile
from deploy.config.secrets.envfile import Text
from deploy.config.secrets.rules import EXAMPLE, OWN, Documented, mistakes
from deploy.config.secrets.source import Source, source_of
from deploy.config.settings import Settings
from deploy.core.errors import Refused, refuse
from deploy.core.shell import Secret
from deploy.hosts.local import LocalHost


def read(settings: Settings) -> dict[str, Secret]:
    """Read the app's secrets; none where neither they nor an example exist, unless the settings name their source.

    Raises Refused, all reasons at once, when they are missing, readable by others, lack a key that the example
    documents, or still hold a placeholder.
    """
    source, example = source_of(settings), settings.root / EXAMPLE
    found = source.read()
    if found is None:
        if not example.exists() and not settings.secrets.file:
            return {}  # an app without secrets
        raise absent(source, settings)
    bindings = envfile.entries(found)
    values = {key: value for key, value in envfile.values(bindings).items() if key not in OWN}
    reasons = mistakes(values, documented(example), {entry.key: envfile.line(entry) for entry in bindings})
    reasons += source.exposed()
    refuse("the secrets are not ready:", reasons, where=found.where, then=found.then, slug="secrets-not-ready")
    return values


def absent(source: Source, settings: Settings) -> Refused:
    """Say that there are no secrets where the settings look for them."""
    example = settings.root / EXAMPLE
    otherwise = f"create {source.name}, or fix the setting secrets.file"
    then = f"inv secrets.init creates it from {EXAMPLE}" if example.exists() else otherwise
    return Refused(f"{source.name} does not exist", where=source.where, then=then, slug="secrets-missing")


def documented(example: Path) -> Documented:
    """Return what the example documents, nothing where there is none."""
    if not example.exists():
        return Documented(())
    then = f"edit {example.name}"
    words = Text(text.read(example, example.name, str(example)), example.name, str(example), then)
    bindings = envfile.entries(words)
    shown = {key: "".join(value) for key, value in envfile.values(bindings).items()}
    return Documented(tuple(shown), envfile.optional(bindings), shown)


def generate(example: str) -> str:
    """Fill in an example: each `<random NAME>` becomes a value of its own, the same wherever NAME stands."""
    chosen = defaultdict[str, str](lambda: random.token_urlsafe(24))
    return re.sub(r"<random ([^>]*)>", lambda match: chosen[match[1]], example)


def create(settings: Settings, host: LocalHost) -> bool:
    """Write new secrets from the example; False when there are some already, Refused when there is no example.

    An encrypted file is made of the plain one of the same name, where there is one.
    """
    source, example = source_of(settings), settings.root / EXAMPLE
    source.require_writable()
    if settings.secrets_file.exists():
        return False
    plain = settings.secrets_file.with_suffix("")
    if settings.secrets_file.suffix == ".age" and plain.exists():
        source.write(text.read(plain, plain.name, str(plain)), host)
        return True
    if not example.exists():
        then = f"write it, or {source.name} itself; an app without secrets needs neither"
        raise Refused(f"there is no {EXAMPLE}", where=str(example), then=then, slug="secrets-missing")
    source.write(generate(text.read(example, example.name, str(example))), host)
    return True
