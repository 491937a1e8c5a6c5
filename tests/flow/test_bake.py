"""Promise: one commit is one build, whatever this shell has set; by the real Bake."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.hosts.local import LocalHost
from deploy.images import build
from tests.support.samples import settings

FILE = """
variable "NODE_ENV" { default = "production" }
target "app" {
  args = { MODE = NODE_ENV }
  tags = ["shop/app"]
}
group "default" { targets = ["app"] }
"""


def test_a_variable_of_the_shell_changes_nothing_of_what_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings(tmp_path)
    (tmp_path / own.bake).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / own.bake).write_text(FILE)
    monkeypatch.setenv("NODE_ENV", "development")
    (target,) = build.read_targets(own, LocalHost())
    assert (target.image, target.arguments, target.dockerfile) == ("shop/app", {"MODE": "production"}, "Dockerfile")
