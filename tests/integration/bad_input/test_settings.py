"""Mistakes in the settings: files that cannot be read, values and keys that are not settings."""

from __future__ import annotations

import pytest

from tests.integration.bad_input.bad import APP, LOCAL, Bad

MISTAKES = {  # file, what stood there, what stands there now
    "wrong-value": (LOCAL, "drain_within = 10", 'drain_within = "soon"\nkeep_releases = 1'),
    "unknown-key-in-environment": (LOCAL, "healthy_within", "healthy_witin"),
    "unknown-key-in-app": (APP, 'app = "tiny"', 'app = "tiny"\nngins = "nginx"\nenv = "prod"'),
}


@pytest.mark.parametrize("bad", MISTAKES, indirect=True)
def test_a_mistake_in_a_settings_file(bad: Bad) -> None:
    bad.site.replace(*MISTAKES[bad.name])
    bad.meets("deploy")


def test_malformed_toml(bad: Bad) -> None:
    bad.site.replace(APP, 'app = "tiny"', "app = tiny")
    bad.site.replace(LOCAL, "[rollout]", "[rollout")
    bad.site.replace(LOCAL, "\n\n", "\n")
    bad.meets("deploy")


def test_unknown_variable(bad: Bad) -> None:
    bad.meets("deploy", OPS_ROLLOUT__STRATEGI="blue_green")
