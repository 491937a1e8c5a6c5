"""`inv hosts.import` from the command line to the environment's file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.config.loader import load
from deploy.config.settings import ROOT
from deploy.core.errors import Refused
from deploy.provisioning import imported

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMyTqXJ4p5Y3P1rJ2rYQx8c1x0QzGm5Q0m5b8z9c4kLw"
TOML = f"""# what stands here stays
domain = "shop.test"

[hosts.app1]
address = "10.0.0.1"  # the first one
key = "{KEY}"

[hosts.app2]
address = "10.0.0.2"
key = "{KEY}"
"""
HOSTS = [
    {"name": "app1", "address": "10.0.0.1", "private": "10.9.0.1"},
    {"name": "app2", "address": "10.0.0.22", "private": "10.9.0.2", "roles": ["app", "edge", "worker"]},
]
OUTPUT = {"environment": "prod", "hosts": HOSTS, "password": "hunter2"}


@pytest.fixture
def prod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of two hosts whose keys are pinned."""
    folder = tmp_path / "deploy" / "environments"
    folder.mkdir(parents=True)
    (folder.parent / "app.toml").write_text('app = "shop"\ncompose = ["c.yml"]\n')
    (folder / "prod.toml").write_text(TOML)
    monkeypatch.setenv("OPS_ROOT", str(tmp_path))
    return folder / "prod.toml"


def text(**changes: Any) -> str:
    return json.dumps({name: {"value": value} for name, value in {**OUTPUT, **changes}.items()})


def inv(*words: str, stdin: str = "", path: str = "") -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "invoke", "hosts.import", *words, "--env=prod"]
    environ = {**os.environ, **({"PATH": path} if path else {})}
    return subprocess.run(argv, cwd=ROOT, env=environ, capture_output=True, text=True, input=stdin)


def test_hosts_come_into_the_file_and_a_second_run_changes_nothing(prod: Path) -> None:
    prod.chmod(0o600)
    done = inv("--json", stdin=text())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "env": "prod",
        "hosts": [
            {"name": "app1", "change": "changed", "keys": ["private"], "pin": False},
            {"name": "app2", "change": "changed", "keys": ["address", "key", "private", "roles"], "pin": True},
        ],
    }
    assert "app2: the address changed, so the pinned host key went\nnext: inv hosts.pin --env=prod app2" in done.stderr
    written, hosts = prod.read_text(), load("prod").hosts
    assert "# what stands here stays" in written
    assert 'address = "10.0.0.1"  # the first one' in written
    assert (hosts["app1"].key, hosts["app1"].private, len(hosts["app1"].roles)) == (KEY, "10.9.0.1", 5)
    assert (hosts["app2"].key, hosts["app2"].address) == ("", "10.0.0.22")
    assert hosts["app2"].roles == ["app", "worker", "edge"]
    stamp = prod.stat()
    again = inv(stdin=text())
    assert (again.returncode, prod.stat().st_mtime_ns, prod.stat().st_mode) == (0, stamp.st_mtime_ns, stamp.st_mode)
    assert again.stdout.count("unchanged") == 2


def test_a_host_that_is_not_in_the_output_goes_only_when_somebody_says_so(prod: Path) -> None:
    alone = text(hosts=HOSTS[:1])
    refused = inv(stdin=alone)
    assert (refused.returncode, prod.read_text()) == (2, TOML)
    assert "app2: in prod.toml, and not in Terraform's output" in refused.stderr
    done = inv("--remove", stdin=alone)
    assert (done.returncode, [*load("prod").hosts]) == (0, ["app1"]), done.stderr


TWINS = [{"name": name, "address": "10.0.0.1"} for name in ("app1", "app2")]


@pytest.mark.parametrize(
    ("stdin", "slug", "words"),
    [
        pytest.param("", "terraform-output-invalid", "the whole", id="nothing"),
        pytest.param("{", "terraform-output-invalid", "the whole", id="no JSON"),
        pytest.param(text(hosts=[]), "terraform-output-invalid", "hosts.value", id="no hosts"),
        pytest.param(text(hosts=[{"name": "app1"}]), "terraform-output-invalid", "address: it is missing", id="no key"),
        pytest.param(text(environment="staging"), "environment-differs", "staging, not of prod", id="another's"),
        pytest.param(text(hosts=TWINS), "settings-invalid", "one machine is one host", id="twins"),
    ],
)  # fmt: skip
def test_bad_output_writes_nothing_and_shows_no_value(prod: Path, stdin: str, slug: str, words: str) -> None:
    with pytest.raises(Refused) as raised:
        imported.write(load("prod"), imported.parse(stdin), remove=True)
    assert (raised.value.slug, prod.read_text(), words in raised.value.what) == (slug, TOML, True), raised.value
    assert "hunter2" not in str(raised.value)


def test_a_forgotten_env_makes_no_servers_of_this_machine(prod: Path) -> None:
    """A module of somebody else's does not say whose hosts it has, and --env is local where nobody says so."""
    local = prod.with_name("local.toml")
    local.write_text('domain = "localhost"\n')
    nameless = json.loads(text())
    del nameless["environment"]
    with pytest.raises(Refused, match="local is this machine") as raised:
        imported.write(load("local"), imported.parse(json.dumps(nameless)), remove=False)
    assert (raised.value.then, local.read_text()) == ("inv hosts.import --env=ENV", 'domain = "localhost"\n')


def test_terraform_is_asked_in_its_folder_and_is_not_needed_for_a_file(prod: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "terraform"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$*" = "-chdir={tmp_path} output -json -no-color" ] && cat {tmp_path}/out\n')
    program.chmod(0o755)
    (tmp_path / "out").write_text(text())
    none = inv(f"--from={tmp_path}", path="/nowhere")
    assert (none.returncode, "`terraform` is not installed" in none.stderr, prod.read_text()) == (2, True, TOML)
    assert inv(f"--from={tmp_path}", path=f"{program.parent}:/usr/bin:/bin").returncode == 0
    assert inv(f"--from={tmp_path}/out", path="/nowhere").returncode == 0
    assert inv(f"--from={tmp_path}/nothing").returncode == 2


def test_a_terraform_that_fails_says_so_and_nothing_is_written(prod: Path, tmp_path: Path) -> None:
    program = tmp_path / "terraform"
    program.write_text("#!/bin/sh\necho 'Error: Backend initialization required' >&2\nexit 1\n")
    program.chmod(0o755)
    done = inv(f"--from={tmp_path}", path=f"{tmp_path}:/usr/bin:/bin")
    assert (done.returncode, "Backend initialization required" in done.stderr, prod.read_text()) == (1, True, TOML)
