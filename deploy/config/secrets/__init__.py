"""Secrets: read from where the settings say, checked against .env.example, written for one release."""

from deploy.config.secrets.envfile import NAME, as_file, fingerprint, names, render, rendered, version
from deploy.config.secrets.mask import masked
from deploy.config.secrets.rules import EXAMPLE, OWN
from deploy.config.secrets.source import own, source_of
from deploy.config.secrets.values import create, generate, read

__all__ = [
    "EXAMPLE",
    "NAME",
    "OWN",
    "as_file",
    "create",
    "fingerprint",
    "generate",
    "masked",
    "names",
    "own",
    "read",
    "render",
    "rendered",
    "source_of",
    "version",
]
