"""The environments that are there as examples: they load and render, and no command can reach a machine by them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.config.environment import Environment, remote_hosts
from deploy.config.loader import load
from deploy.config.settings import ROOT
from deploy.core.errors import Refused
from deploy.core.shell import command
from deploy.hosts.local import LocalHost
from deploy.hosts.sections import is_reserved
from deploy.release import desired
from tests.support.workflows import ENVIRONMENTS

each = pytest.mark.parametrize("env", ENVIRONMENTS)


@each
def test_an_example_renders_a_release_for_each_of_its_hosts(env: str) -> None:
    settings = load(env)
    at = Environment(settings, LocalHost(), tuple(remote_hosts(settings).values()))
    model = desired.model(*at.machine)
    images = dict.fromkeys(desired.names(model), "sha256:" + "0" * 64)
    placed = desired.placed(at, model)
    files = {name: desired.render_all(settings, here, images, "r1", "/env") for name, here in placed.items()}
    assert [*files] == [*settings.hosts]
    assert all("\n  backend-green:\n" in own["green.yml"] for own in files.values())
    assert [name for name, own in files.items() if "\n  postgres:\n" in own["shared.yml"]] == ["app1"]
    others = [own["green.yml"] for name, own in files.items() if name != "app1"]
    assert all(f"postgres={settings.hosts['app1'].private}" in text for text in others), "where the data is"


@each
def test_an_example_names_nothing_that_exists(env: str) -> None:
    settings = load(env)
    assert all(is_reserved(server.address) and not server.key for server in settings.hosts.values())
    assert is_reserved(settings.domain)
    assert is_reserved(settings.ship.registry.partition("/")[0])


@each
def test_a_host_of_an_example_is_not_connected_to_even_with_a_key(env: str) -> None:
    settings = load(env)
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
    server = settings.hosts["app1"].model_copy(update={"key": key})
    host = remote_hosts(settings.model_copy(update={"hosts": {"app1": server}}))["app1"]
    with pytest.raises(Refused, match=r"still has the example's address 192\.0\.2\.") as refused:
        host.run(command("true"))
    assert refused.value.slug == "host-address-reserved"
    assert f"fill in hosts.app1.address in deploy/environments/{env}.toml" in refused.value.then


@pytest.mark.parametrize("line", ["deploy --yes", "down --volumes --yes", "hosts.pin --yes"])
def test_a_command_for_an_example_says_what_to_fill_in(line: str, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.touch(mode=0o600)
    secrets.write_text("\n".join(f"{name}=as-good-as-any" for name in documented()))
    argv = [sys.executable, "-m", "invoke", *line.split(), "--env=prod"]
    environment = {**os.environ, "OPS_SECRETS": str(secrets)}
    ran = subprocess.run(argv, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ran.returncode == 2, ran.stderr
    assert "fill in hosts.app1.address in deploy/environments/prod.toml, then inv hosts.pin --env=prod" in ran.stderr


def documented() -> list[str]:
    """The keys that the app's example of secrets has."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    return [line.partition("=")[0] for line in lines if "=" in line and not line.startswith("#")]


@pytest.mark.parametrize(
    ("address", "reserved"),
    [
        ("192.0.2.1", True), ("198.51.100.9", True), ("203.0.113.7", True), ("2001:db8::1", True),
        ("example.com", True),
        ("db.example.org", True), ("app.EXAMPLE", True), ("192.0.3.1", False), ("10.0.0.1", False),
        ("2001:db9::1", False),
        ("myexample.com", False), ("example.com.au", False), ("books.net", False), ("localhost", False),
    ],
)  # fmt: skip
def test_what_no_machine_has(address: str, reserved: bool) -> None:
    assert is_reserved(address) is reserved
