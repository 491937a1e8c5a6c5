"""The table of faults of data names tests that are there."""

from __future__ import annotations

import re

import pytest

from deploy.config.settings import ROOT
from tests.unit.test_docs import reference

FAULTS = reference("bad-nights.md", "fault")
NAMED = r"`(tests/[\w/]+\.py)::(test_\w+)`"


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_of_data_has_a_test_that_is_there_or_is_not_done_yet(fault: str) -> None:
    what, named = FAULTS[fault]
    tests = re.findall(NAMED, named)
    assert bool(tests) != what.startswith("not yet")
    assert re.sub(rf"{NAMED},? ?", "", named) == ""
    for path, name in tests:
        assert f"\ndef {name}(" in (ROOT / path).read_text(), f"{path} has no {name}"
