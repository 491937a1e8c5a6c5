"""The table of faults of gates names tests that are there."""

from __future__ import annotations

import re

import pytest

from deploy.config.settings import ROOT
from tests.unit.test_docs import reference

FAULTS = reference("faults-of-gates.md", "fault")
NAMED = r"`(tests/[\w/]+\.py)::(test_\w+)`"


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_gates_has_a_test_that_is_there(fault: str) -> None:
    _, named = FAULTS[fault]
    tests = re.findall(NAMED, named)
    assert tests
    assert re.sub(rf"{NAMED},? ?", "", named) == ""
    for path, name in tests:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
