"""Base images from public tags, with a registry of our own in the place of the public one."""

from __future__ import annotations

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.core.poll import wait_until
from deploy.hosts.local import LocalHost
from deploy.images import bases
from tests.support.site import ROOT, Site, docker, free_port

CONFIGURATION = """
version: 0.1
storage: {{filesystem: {{rootdirectory: /data}}}}
http: {{addr: ":{port}"}}
"""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry without a password, with python, busybox and nginx in it; yields its address."""
    base = bases.Base("test-registry", "", "bookworm", "extract", ("docker-registry",), recipe="1")
    if not bases.present(base.local_tag, LocalHost()):
        bases.build(base, ROOT, LocalHost())
    name, port = f"registry-{uuid.uuid4().hex[:8]}", free_port()
    (tmp_path / "config.yml").write_text(CONFIGURATION.format(port=port))
    docker("run", "--detach", f"--name={name}", "--label=bookreader-ops.test-host", "--network=host", "--tmpfs=/data",
           f"--volume={tmp_path}:/etc/registry:ro", base.local_tag, "docker-registry", "serve",
           "/etc/registry/config.yml")  # fmt: skip
    address = f"127.0.0.1:{port}"
    references = bases.prepare(ROOT, "debian", ["python", "busybox", "nginx"], LocalHost())
    try:
        assert wait_until(lambda: not LocalHost().port_is_free("127.0.0.1", port), 20), docker("logs", name)
        for base_name, reference in references.items():
            docker("tag", reference, f"{address}/{base_name}:1")
            docker("push", "--quiet", f"{address}/{base_name}:1")
        yield address
    finally:
        subprocess.run(["docker", "rm", "--force", name], capture_output=True)
        subprocess.run(
            ["docker", "image", "rm", *(f"{address}/{base_name}:1" for base_name in references)], capture_output=True
        )


def test_public_tags_are_found_pinned_and_built_on(tiny: Site, registry: str) -> None:
    """`auto` finds the registry and says so; `images.pin` writes digests; the images are built on them and deployed."""
    tiny.write("docker/bases.toml", "".join(
        f'[{name}]\npublic = "{registry}/{name}:1"\nsuite = "none"\nvariant = "extract"\npackages = ["none"]\n\n'
        for name in ("python", "busybox", "nginx")
    ))  # fmt: skip
    tiny.commit()
    output = tiny.inv("build").stderr
    assert "public tags" in output
    assert "not pinned by digest" in output
    tiny.inv("images.pin")
    pinned = (tiny.root / "docker/bases.toml").read_text()
    for name in ("python", "busybox", "nginx"):
        manifest = docker("buildx", "imagetools", "inspect", f"{registry}/{name}:1", "--format", "{{json .Manifest}}")
        assert f'digest = "{json.loads(manifest)["digest"]}"' in pinned
    tiny.commit("pinned")
    again = tiny.inv("build", BUILDX_BUILDER="nowhere", DOCKER_DEFAULT_PLATFORM="linux/arm64").stderr
    assert "not pinned" not in again
    assert "DOCKER_DEFAULT_PLATFORM of this shell is not read" in again
    release = tiny.inv("deploy", "--json").document["release"]
    assert release in tiny.get("/version")[1]


def test_a_base_is_the_same_twice_whatever_the_umask_and_says_what_was_unpacked() -> None:
    """One digest; Debian's version, and a record of each package for scanners, as distroless images keep them."""
    base, made = bases.read(ROOT)["busybox"], list[str]()
    for umask in (0o022, 0o077):
        tag = bases.Base(base.name, "", base.suite, base.variant, base.packages, recipe=f"test-{umask}")
        before = os.umask(umask)
        try:
            bases.build(tag, ROOT, LocalHost())
        finally:
            os.umask(before)
        made.append(docker("image", "inspect", "--format", "{{.Id}}", tag.local_tag))
        docker("image", "rm", tag.local_tag)
    assert made[0] == made[1]
    ran = docker("run", "--rm", base.local_tag, "/bin/busybox", "cat", "/etc/debian_version",
                 "/var/lib/dpkg/status.d/busybox-static")  # fmt: skip
    assert ran.startswith("12.")
    assert "Package: busybox-static\n" in ran
    assert "Version: " in ran
    python = bases.prepare(ROOT, "debian", ["python"], LocalHost())["python"]
    compiled = "import json, os; print(os.path.exists(json.__cached__))"
    assert docker("run", "--rm", "--read-only", python, "python3.11", "-c", compiled) == "True\n", "not at each start"


def test_no_registry_and_no_mmdebstrap_is_refused(tiny: Site, tmp_path: Path) -> None:
    """Bases that nobody can provide: the command that fixes it is named."""
    text = (ROOT / "docker/bases.toml").read_text()
    tiny.write(
        "docker/bases.toml", text.replace('"python3.11-minimal"', '"python3.11-minimal", "libffi8"')
    )  # a recipe never built
    tools = tmp_path / "bin"
    tools.mkdir()
    for tool in ("git", "docker"):
        found = subprocess.run(["which", tool], check=True, capture_output=True, text=True).stdout.strip()
        (tools / tool).symlink_to(found)
    output = tiny.inv("build", code=2, PATH=str(tools), OPS_BUILD__BASES="debian").stderr
    assert "mmdebstrap" in output
    assert "apt-get install mmdebstrap" in output
