"""What an error tells people to type acts where the error happened."""

from __future__ import annotations

import pytest

from deploy.core.errors import OpsError, acting


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("inv resume goes on, inv abort goes back", "inv resume --env=prod goes on, inv abort --env=prod goes back"),
        ("inv deploy --to=RELEASE", "inv deploy --env=prod --to=RELEASE"),
        ("inv hosts.check --env=prod; inv status, then", "inv hosts.check --env=prod; inv status --env=prod, then"),
        ("inv build --push --env=prod", "inv build --push --env=prod"),
        ("inv --list, or inv --help TASK", "inv --list, or inv --help TASK"),
        ("mend it, then inv deploy.", "mend it, then inv deploy --env=prod."),
        ("OPS_EDGE__PORT=5174 inv dev; inv down", "OPS_EDGE__PORT=5174 inv dev; inv down --env=prod"),
    ],
)
def test_commands_name_their_environment(text: str, expected: str) -> None:
    assert acting(text, "prod") == expected
    assert acting(text, "local") == text


def test_an_error_names_it_in_all_it_says() -> None:
    error = OpsError("inv build failed")
    error.env = "prod"
    assert error.document["serves"] == "what served before; inv status --env=prod shows it"
    assert "next:   inv doctor --env=prod" in str(error)
