"""Promise: one commit is one build, whatever this shell has set; by the real Bake."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.core.shell import docker
from deploy.hosts.local import LocalHost
from deploy.images import build
from tests.support.samples import settings

FILE = """
variable "AWS_REGION" { default = "eu-1" }
target "app" {
  args = { MODE = AWS_REGION }
  tags = ["shop/app"]
}
group "default" { targets = ["app"] }
"""
JSON = """{
  "variable": %s,
  "target": {"app": {"args": {"MODE": "${AWS_REGION}"}, "tags": ["shop/app"]}},
  "group": {"default": {"targets": ["app"]}}
}"""
WRITTEN = {
    "HCL": FILE,
    "JSON": JSON % '{"AWS_REGION": {"default": "eu-1"}}',
    "JSON, lists": JSON % '[{"OTHER": {}}, {"AWS_REGION": [{"default": "eu-1"}]}]',
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_a_variable_of_the_shell_changes_nothing_of_what_is_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Not even one that Docker's client gets for its own work."""
    own = settings(tmp_path).model_copy(update={"bake": "docker/bake.hcl" if text == FILE else "docker/bake.json"})
    (tmp_path / own.bake).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / own.bake).write_text(text)
    monkeypatch.setenv("AWS_REGION", "us-9")
    (target,) = build.read_targets(own, LocalHost())
    assert (target.image, target.arguments, target.dockerfile) == ("shop/app", {"MODE": "eu-1"}, "Dockerfile")


@pytest.mark.parametrize("secret", ["id=npm,env=NPM_TOKEN", "type=env,id=npm,env=NPM_TOKEN"])
def test_a_secret_that_a_build_takes_from_the_shell_is_given_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    """A private registry of packages needs it; no image keeps anything of it, so that one commit stays one build."""
    own = settings(tmp_path)
    (tmp_path / own.bake).parent.mkdir(parents=True, exist_ok=True)
    text = FILE.replace("  tags", f'  secret = ["{secret}"]\n  tags')
    (tmp_path / own.bake).write_text(f"# env=OTHER\n{text}")
    for name in ("NPM_TOKEN", "OTHER", "AWS_REGION"):
        monkeypatch.setenv(name, "s3cret")
    here = LocalHost()
    here.endpoint = "unix:///nowhere"
    seen = here.environment(build.without_shell(own, docker("buildx", "bake")))
    assert (seen.get("NPM_TOKEN"), seen.get("OTHER")) == ("s3cret", None)
    assert "s3cret" not in str(build.without_shell(own, docker("buildx", "bake"))), "a secret is shown"
