"""What a machine may lack: an engine, its plugins, space on the disk, free ports."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from tests.integration.bad_input.bad import Bad
from tests.support.site import Site, docker

# mounts in a namespace of the command's own: nobody else sees them, and they end with it
UNSHARE = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
HIDE_PLUGIN = """
folder=$(dirname "$1") hidden=$1 kept=$2; shift 2
mount --bind "$folder" "$kept"; mount -t tmpfs tmpfs "$folder"
for plugin in "$kept"/*; do [ "$(basename "$plugin")" = "$(basename "$hidden")" ] || ln -s "$plugin" "$folder/"; done
exec "$@"
"""
SMALL_DISK = """
state=$1 small=$2; shift 2
mount -t tmpfs -o size=8m tmpfs "$small"; cp -a "$state/." "$small"; mount --bind "$small" "$state"
[ -z "${FILL-}" ] || cat /dev/zero > "$state/filler" 2>/dev/null || true
exec "$@"
"""
PLUGINS = {"no-buildx": "buildx", "no-compose": "compose"}


def hide_plugin(name: str, folder: Path) -> tuple[str, ...]:
    """Return the words that run a command where the Docker client really lacks a plugin."""
    plugins = json.loads(docker("info", "--format", "{{json .ClientInfo.Plugins}}"))
    path = next(plugin["Path"] for plugin in plugins if plugin["Name"] == name)
    return (*UNSHARE, "sh", "-euc", HIDE_PLUGIN, "sh", path, str(folder))


def small_disk(site: Site, folder: Path) -> tuple[str, ...]:
    """Return the words that run a command where the state, as it is, lies on a small file system."""
    return (*UNSHARE, "sh", "-euc", SMALL_DISK, "sh", str(site.state), str(folder))


def test_engine_not_running(bad: Bad, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    socket_of_nobody = f"unix://{tmp_path / 'dead.sock'}"
    for command in ("deploy", "plan", "rollback"):
        bad.meets(command, DOCKER_HOST=socket_of_nobody)
    for words in (["build"], ["status"], ["logs", "app"], ["down"]):
        assert "the Docker engine does not answer" in bad.site.inv(*words, code=2, DOCKER_HOST=socket_of_nobody).stderr
    assert "Docker engine" in bad.site.inv("doctor", code=3, DOCKER_HOST=socket_of_nobody).stderr


def test_engine_elsewhere(bad: Bad) -> None:
    bad.meets("deploy", DOCKER_HOST="tcp://192.0.2.1:2375")


@pytest.mark.parametrize("bad", PLUGINS, indirect=True)
def test_a_plugin_that_the_client_lacks(bad: Bad, tmp_path: Path) -> None:
    bad.meets("deploy", under=hide_plugin(PLUGINS[bad.name], tmp_path))


def test_disk_nearly_full(bad: Bad, tmp_path: Path) -> None:
    output = bad.meets("deploy", under=small_disk(bad.site, tmp_path))
    assert str(bad.site.state) in output


def test_disk_full(bad: Bad, tmp_path: Path) -> None:
    bad.meets("deploy", under=small_disk(bad.site, tmp_path), FILL="yes", OPS_ROLLOUT__FREE_DISK_GB="0")


def test_port_taken(bad: Bad, tiny: Site) -> None:
    with socket.create_server(("127.0.0.1", tiny.port)), socket.create_server(("127.0.0.1", tiny.probe_port)):
        output = bad.meets("deploy", site=tiny)
    assert f"port {tiny.port} is taken" in output
    assert f"port {tiny.probe_port} is taken" in output
    assert tiny.containers() == {}
    assert {path.name for path in tiny.state.iterdir()} <= {"lock", "changing"}, "a refusal writes nothing but its lock"
