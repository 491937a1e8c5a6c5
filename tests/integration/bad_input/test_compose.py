"""Mistakes in what describes services and images: compose files, x-deploy blocks, the bake file."""

from __future__ import annotations

import pytest

from tests.integration.bad_input.bad import APP, BAKE, COMPOSE, LOCAL, Bad

IMAGE = "    image: tiny/app\n"
MISTAKES = {  # file, what stood there, what stands there now
    "malformed-compose": (COMPOSE, "services:\n", "services:\n  [\n"),
    "key-twice": (COMPOSE, "    image: tiny/app\n", "    image: tiny/app\n    image: tiny/other\n"),
    "missing-compose": (APP, '"docker/compose.yml"', '"docker/compose.yml", "docker/nowhere.yml"'),
    "compose-refuses": (COMPOSE, "image: tiny/app", "imagee: tiny/app"),
    "unset-variable": (LOCAL, 'BEHAVIOUR = "well"', ""),
    "placeholder-in-compose": (COMPOSE, "environment: {", "environment: {DB_PASSWORD: '${DB_PASSWORD:-changethis}', "),
    "no-role": (COMPOSE, "role: web, ", ""),
    "unknown-key-in-x-deploy": (COMPOSE, "health: /health", "helth: /health"),
    "relative-bind": (COMPOSE, '["scratch:/scratch"]', '["./data:/data", "../app:/code"]'),
    "extends-nowhere": (COMPOSE, IMAGE, f"{IMAGE}    extends: {{file: nowhere.yml, service: base}}\n"),
    "label-file": (COMPOSE, IMAGE, f"{IMAGE}    label_file: labels.env\n"),
    "malformed-bake": (BAKE, 'target "app" {', 'target "app" ['),
}


@pytest.mark.parametrize("bad", MISTAKES, indirect=True)
def test_a_mistake_in_what_describes_the_services(bad: Bad) -> None:
    bad.site.replace(*MISTAKES[bad.name])
    bad.meets("deploy")


def test_values_from_elsewhere(bad: Bad) -> None:
    bad.site.write("docker/.env", "MAIL_KEY=a-long-and-chosen-value\n")
    bad.site.replace(COMPOSE, IMAGE, f"{IMAGE}    command: ['--key', $MAIL_KEY]\n")
    assert "chosen-value" not in bad.meets("deploy")
