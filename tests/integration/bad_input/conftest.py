"""A site that serves, and the fault that is tried on it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.bad_input.bad import Bad, look
from tests.support.site import Site, make_tiny


@pytest.fixture(scope="package")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A tiny site with a release in service, shared by all tests of this folder: each leaves it serving."""
    site = make_tiny(tmp_path_factory.mktemp("serving"))
    site.git("tag", "good")
    site.inv("deploy")
    yield site
    site.sweep()


@pytest.fixture
def bad(request: pytest.FixtureRequest, serving: Site) -> Iterator[Bad]:
    """The fault that the test, or its line of a table, is named after; afterwards the old release still serves.

    A refusal changed nothing at all.
    """
    before = look(serving)
    name = getattr(request, "param", request.node.name.removeprefix("test_").replace("_", "-"))
    tried = Bad(name, serving, json.loads(before.version)["release"])
    try:
        yield tried
    finally:
        serving.git("reset", "--hard", "--quiet", "good")
        serving.git("clean", "-ffdxq")
    assert tried.met, "the test compared nothing with the list"
    after = look(serving)
    if tried.case["code"]:
        assert (after.version, after.generation, after.running) == (before.version, before.generation, before.running)
    if tried.case["code"] in (2, 3, 4):
        assert after == before
