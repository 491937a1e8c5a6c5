"""A step of a deploy is one place: value, sentence, stage and performance stand in its class."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest

from deploy.rollout import steps


def below(base: type[Any]) -> Iterator[type[Any]]:
    """Name the classes that derive from one, and those that derive from them."""
    derived: type[Any]
    for derived in base.__subclasses__():
        yield derived
        yield from below(derived)


STEPS = [*below(steps.Step)]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step.__name__)
def test_a_step_says_its_sentence_its_stage_and_how_it_is_performed(step: type[Any]) -> None:
    own = vars(step)
    assert not {"__str__", "stage", "perform"} - own.keys(), "each stands in the step's own class"
    assert isinstance(own["stage"], steps.Stage)
    assert own["__dataclass_params__"].frozen
    assert "stage" not in {field.name for field in fields(step)}, "the journal keeps the value alone"


def test_every_step_is_there_by_its_name() -> None:
    assert {step.__name__ for step in STEPS} == {*steps.__all__} - {"Stage", "Step"}
