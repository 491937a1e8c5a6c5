"""Images that cannot be built, or that are larger than they may be."""

from __future__ import annotations

import pytest

from tests.integration.bad_input.bad import DOCKERFILE, Bad

STEPS = {  # a line of the Dockerfile
    "build-step-fails": """RUN ["python3.11", "-c", "print('told to fail', flush=True); raise SystemExit(3)"]""",
    "build-file-missing": "COPY nowhere.py /",
    "build-out-of-space": (
        """RUN --mount=type=tmpfs,target=/small,size=1m ["python3.11", "-c", "open('/small/x', 'wb').write(bytes(9000000))"]"""
    ),
}


@pytest.mark.parametrize("bad", STEPS, indirect=True)
def test_a_build_step_that_cannot_be_done(bad: Bad) -> None:
    bad.spoil(DOCKERFILE, "USER ", f"{STEPS[bad.name]}\nUSER ")
    bad.meets("deploy")


def test_over_budget(bad: Bad) -> None:
    bad.meets("deploy", OPS_BUILD__BUDGET__APP="1")
