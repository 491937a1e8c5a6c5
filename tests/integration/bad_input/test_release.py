"""A new release that must not serve: its migration, its program, its health."""

from __future__ import annotations

import time

import pytest

from tests.integration.bad_input.bad import COMPOSE, LOCAL, Bad

HOPELESS = {"exits-at-once": "exits", "health-redirects": "redirects"}
UNHEALTHY = {"health-fails": "fails", "health-never": "hangs"}


def test_migration_fails(bad: Bad) -> None:
    migrate = """migrate: ["python3.11", "-c", "raise SystemExit('no such column')"]"""
    bad.spoil(COMPOSE, "role: web, ", f"role: web, {migrate}, ")
    bad.meets("deploy")


@pytest.mark.parametrize("bad", HOPELESS, indirect=True)
def test_what_cannot_become_healthy_is_not_waited_for(bad: Bad) -> None:
    bad.spoil(LOCAL, '"well"', f'"{HOPELESS[bad.name]}"')
    begun = time.monotonic()
    bad.meets("deploy", OPS_ROLLOUT__SERVED_WITHIN="60")
    assert time.monotonic() - begun < 30, "waited although the cause was plain"


@pytest.mark.parametrize("bad", UNHEALTHY, indirect=True)
def test_a_release_that_does_not_become_healthy(bad: Bad) -> None:
    bad.spoil(LOCAL, '"well"', f'"{UNHEALTHY[bad.name]}"')
    bad.meets("deploy")
