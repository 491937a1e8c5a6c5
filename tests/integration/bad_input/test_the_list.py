"""The list has no gap, and its faults leave nothing behind. By its name this file runs last."""

from __future__ import annotations

import importlib
import inspect
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.integration.bad_input.bad import CASES
from tests.support.site import Site


def covered() -> Iterator[str]:
    """Name every fault that a test of this folder tries: by a line of the test's table, or by the test's own name."""
    for path in Path(__file__).parent.glob("test_*.py"):
        module = importlib.import_module(f"{__package__}.{path.stem}")
        for name, test in inspect.getmembers(module, inspect.isfunction):
            if name.startswith("test_") and "bad" in inspect.signature(test).parameters:
                marks = getattr(test, "pytestmark", [])
                table = next((mark.args[1] for mark in marks if mark.args[:1] == ("bad",)), None)
                yield from table or [name.removeprefix("test_").replace("_", "-")]


def test_every_fault_has_a_test_and_every_test_a_fault() -> None:
    """The list and the tests have the same ids, each once, and every entry says all that it must."""
    assert Counter(covered()) == dict.fromkeys(CASES, 1)
    wanted = {"fault", "code", "cause", "where", "serves", "next"}
    assert [
        name for name, case in CASES.items() if case["code"] and (set(case) != wanted or not all(case.values()))
    ] == []


def test_a_correct_deploy_works_after_all_of_it(serving: Site) -> None:
    """Nothing that went wrong stands in the way of what is right."""
    serving.replace("app/app.py", "says hello", "says good day")
    serving.commit()
    release = serving.inv("deploy", "--json").document["release"]
    assert json.loads(serving.get("/version")[1]) == {"release": release}
