"""Mistakes in what describes services and images: compose files, x-deploy blocks, the bake file."""

from __future__ import annotations

import pytest

from tests.integration.bad_input.bad import APP, BAKE, COMPOSE, LOCAL, Bad

MISTAKES = {  # file, what stood there, what stands there now
    "malformed-compose": (COMPOSE, "services:\n", "services:\n  [\n"),
    "key-twice": (COMPOSE, "    image: tiny/app\n", "    image: tiny/app\n    image: tiny/other\n"),
    "missing-compose": (APP, '"docker/compose.yml"', '"docker/compose.yml", "docker/nowhere.yml"'),
    "compose-refuses": (COMPOSE, "image: tiny/app", "imagee: tiny/app"),
    "unset-variable": (LOCAL, 'BEHAVIOUR = "well"', ""),
    "no-role": (COMPOSE, "role: web, ", ""),
    "unknown-key-in-x-deploy": (COMPOSE, "health: /health", "helth: /health"),
    "relative-bind": (COMPOSE, '["scratch:/scratch"]', '["./data:/data", "../app:/code"]'),
    "malformed-bake": (BAKE, 'target "app" {', 'target "app" ['),
}


@pytest.mark.parametrize("bad", MISTAKES, indirect=True)
def test_a_mistake_in_what_describes_the_services(bad: Bad) -> None:
    bad.site.replace(*MISTAKES[bad.name])
    bad.meets("deploy")
