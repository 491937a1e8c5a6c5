"""A checkout that is no commit."""

from __future__ import annotations

import json

from tests.integration.bad_input.bad import Bad, without_git


def test_not_a_git_checkout(bad: Bad) -> None:
    with without_git(bad.site):
        bad.meets("deploy")


def test_dirty_checkout(bad: Bad) -> None:
    bad.site.replace("app/app.py", "says hello", "says it dirtily")
    bad.meets("deploy")
    dirty = json.loads(bad.site.get("/version")[1])["release"]
    assert "-dirty-" in dirty
    assert dirty.startswith(bad.site.git("rev-parse", "HEAD")[:12])
