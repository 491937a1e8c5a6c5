"""Apps that tests deploy."""

from __future__ import annotations

from deploy.config.settings import ROOT


def test_every_package_of_the_django_app_is_pinned_with_its_hash() -> None:
    text = (ROOT / "tests/apps/django/backend/requirements.txt").read_text()
    lines = text.replace("\\\n", " ").splitlines()
    assert len(lines) > 3
    assert all("==" in line and "--hash=sha256:" in line for line in lines)
