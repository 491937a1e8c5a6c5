"""Secrets that are not ready; no message shows one that is."""

from __future__ import annotations

import pytest

from tests.integration.bad_input.bad import BAKE, COMPOSE, Bad, without_git
from tests.support.site import Site

KEY = "SECRET_KEY=a-long-and-chosen-value\n"
PASSWORD = "MAIL_PASSWORD=another-chosen-value\n"
FILES = {  # what the file holds, and its mode
    "missing-secret": (KEY, 0o600),
    "placeholder-secret": (f"SECRET_KEY=<random KEY>\n{PASSWORD}", 0o600),
    "readable-secrets": (KEY + PASSWORD, 0o644),
}


def with_secrets(site: Site, text: str, mode: int) -> None:
    """Give a site documented secrets and a file of them."""
    site.write(".env.example", "SECRET_KEY=<random KEY>\nMAIL_PASSWORD=change-me\n")
    site.write(".env.local", text)
    (site.root / ".env.local").chmod(mode)


@pytest.mark.parametrize("bad", FILES, indirect=True)
def test_a_file_of_secrets_that_is_not_ready(bad: Bad) -> None:
    with_secrets(bad.site, *FILES[bad.name])
    assert "chosen-value" not in bad.meets("deploy")


def test_no_secrets_file(bad: Bad) -> None:
    bad.site.write(".env.example", "SECRET_KEY=<random KEY>\n")
    bad.meets("deploy")


def test_all_at_once(bad: Bad) -> None:
    with_secrets(bad.site, *FILES["missing-secret"])
    bad.site.replace(COMPOSE, "role: web, ", "")
    (bad.site.root / BAKE).unlink()
    with without_git(bad.site):
        bad.meets("deploy")
