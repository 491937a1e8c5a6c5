"""Mistakes in the edge's template."""

from __future__ import annotations

from tests.integration.bad_input.bad import TEMPLATE, Bad


def test_template_broken(bad: Bad) -> None:
    bad.site.replace(TEMPLATE, "live.app", "live.nope")
    bad.meets("deploy")


def test_nginx_refuses(bad: Bad) -> None:
    bad.spoil(TEMPLATE, "location / {", "nonsense on;\n        location / {")
    bad.meets("deploy")
