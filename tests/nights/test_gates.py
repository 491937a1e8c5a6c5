"""Scanners, their data and images on a bad night, with the real Trivy; docs/reference/faults-of-gates.md has all."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.config.loader import load
from deploy.config.sections import Build, Scan
from deploy.config.settings import Settings
from deploy.hosts.local import LocalHost
from deploy.images import bases, build, inventory, tags
from deploy.images.inventory import ImageTransfer
from deploy.security import database, inspect, judge
from deploy.security.findings import Inspection
from tests.integration.test_scan import plant
from tests.support.advisories import IDS, Registry, served
from tests.support.nested import Nested, engines, own_cache
from tests.support.site import ROOT, Site, docker, make_tiny

__all__ = ["own_cache"]  # a fixture for every test here
GIGABYTES = 2
PACKAGES = ("docker.io", "docker-cli", "docker-buildx", "containerd", "iptables", "ca-certificates", "git")
NEWER = bases.Base("newer-engine", "", "testing", "essential", PACKAGES, recipe="of-the-nights")
BLOCK = 65536


@pytest.fixture
def registry() -> Iterator[Registry]:
    with served() as registry:
        yield registry


@pytest.fixture
def names() -> Iterator[list[str]]:
    """Images that are removed at the end."""
    made = list[str]()
    yield made
    docker("image", "rm", "--force", *made)


def built(folder: Path, names: list[str], base: str) -> str:
    """Build an image that has planted packages in it, and no record of Debian's where it is made from nothing."""
    plant(folder, "none")
    if base == "scratch":
        shutil.rmtree(folder / "planted/var")
    names.append(f"ops-test/gates-{uuid.uuid4().hex[:8]}:1")
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY planted /\n")
    docker("buildx", "build", "--quiet", "--load", "--provenance=false", f"--tag={names[-1]}", str(folder))
    return names[-1]


def settings_of(registry: Registry, **more: object) -> Settings:
    """Settings with a database that has advisories for what is planted."""
    scan = Scan.model_validate({"databases": [registry.repository], **more})
    return load("local").model_copy(update={"scan": scan})


def look(name: str, settings: Settings) -> dict[str, Inspection]:
    """Inspection into an image as `inv scan` does."""
    here = LocalHost()
    data, failed = database.update(settings, here)
    assert (data.unknown, failed) == ("", "")
    archived = inventory.read_archive(name, tags.identify(name, here), here)
    inspections, _ = inspect.image(ImageTransfer(name, name, archived), settings, here, data)
    return {one.kind: one for one in inspections}


def result(inspection: Inspection) -> str:
    """What a check comes to."""
    return judge.judge(inspection, (), {}, load("local")).result


class Repeated(io.RawIOBase):
    """A file that is one block again and again: large, and soon compressed."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # of the base it may be any buffer
        buffer[:] = (bytes(range(256)) * (len(buffer) // 256 + 1))[: len(buffer)]
        return len(buffer)


def grow(name: str, names: list[str]) -> str:
    """Add a layer of 2 GB to an image, without a build whose cache would stay; return the name of the new one."""
    container = docker("create", name, "none").strip()
    try:
        with subprocess.Popen(["docker", "cp", "-", f"{container}:/"], stdin=subprocess.PIPE) as copy:
            assert copy.stdin
            with tarfile.open(fileobj=copy.stdin, mode="w|") as tar:
                member = tarfile.TarInfo("large")
                member.size = GIGABYTES * 10**9
                tar.addfile(member, io.BufferedReader(Repeated(), BLOCK))
        assert copy.returncode == 0
        names.append(f"{name}-large")
        docker("commit", container, names[-1])
    finally:
        docker("rm", container)
    return names[-1]


def test_an_image_of_2_gb(tmp_path: Path, registry: Registry, names: list[str]) -> None:
    """An image with a layer of 2 GB, above a plain base and a gzipped layer with planted packages."""
    base = bases.prepare(ROOT, "debian", ["busybox"], LocalHost())["busybox"]
    inspections = look(grow(built(tmp_path, names, base), names), settings_of(registry))
    assert {one.id for one in inspections["vulnerabilities"].findings} == set(IDS.values())
    megabytes = int(inspections["secrets"].scope.split()[0])
    assert megabytes > GIGABYTES * 1000
    assert result(inspections["secrets"]) == "PASS"


def test_an_image_without_a_package_manager(tmp_path: Path, registry: Registry, names: list[str]) -> None:
    """An image of nothing but files: no distribution, no record of packages."""
    name = built(tmp_path, names, "scratch")
    inspections = look(name, settings_of(registry))
    assert "does not say of which distribution it is" in inspections["vulnerabilities"].unknown
    assert result(inspections["end-of-life"]) == "UNKNOWN"
    named = look(name, settings_of(registry, without_packages=[name]))
    assert {one.id for one in named["vulnerabilities"].findings} == {IDS["pip"], IDS["npm"]}
    assert result(named["vulnerabilities"]) == "FAIL"
    assert result(named["end-of-life"]) == "PASS"


def test_a_download_of_the_database_that_is_cut_off(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry gives half of the database's layer, and all of it the next time."""
    monkeypatch.setattr(database, "PAUSES", ())
    whole = dict(registry.blobs)
    registry.blobs |= {name: blob[: len(blob) // 2] for name, blob in whole.items() if len(blob) > 10}
    settings = settings_of(registry)
    data, failed = database.update(settings, LocalHost())
    assert "database" in data.unknown
    assert failed
    registry.blobs |= whole
    data, failed = database.update(settings, LocalHost())
    assert (data.unknown, failed) == ("", "")


def test_a_scanner_that_is_killed(tmp_path: Path, registry: Registry, names: list[str]) -> None:
    """Trivy gets SIGKILL while it looks, as from a kernel that has no memory left."""
    base = bases.prepare(ROOT, "debian", ["busybox"], LocalHost())["busybox"]
    name, killed = built(tmp_path, names, base), tmp_path / "trivy"
    trivy = Path(sys.executable).with_name("trivy")
    killed.write_text(
        f'#!/bin/sh\n"{trivy}" "$@" &\ncase "$1 $2" in "image --format=json") kill -9 $! ;; esac\nwait $!\n'
    )
    killed.chmod(0o755)
    inspections = look(name, settings_of(registry, programs={"trivy": str(killed)}))
    assert {result(one) for one in inspections.values()} == {"UNKNOWN"}
    assert all("137" in one.unknown for one in inspections.values())
    assert result(look(name, settings_of(registry))["vulnerabilities"]) == "FAIL"


@pytest.fixture
def newer(tmp_path: Path, names: list[str]) -> Iterator[tuple[Site, Nested]]:
    """A checkout, and the engine of Debian testing, whose BuildKit can check; it has the base images."""
    site = make_tiny(tmp_path)
    settings, here = load("local", site.root), LocalHost()
    references = bases.prepare(ROOT, "debian", build.contexts(settings), here)
    bases.build(NEWER, ROOT, here)
    names.append(NEWER.local_tag)
    with engines("containerd", base=NEWER.local_tag, shown=site.root) as (host,):
        load_them = ["docker", "exec", "--interactive", host.name, "docker", "load"]
        with subprocess.Popen(["docker", "save", *references.values()], stdout=subprocess.PIPE) as saved:
            subprocess.run(load_them, stdin=saved.stdout, check=True, capture_output=True)
        yield site, host


def test_a_build_check_by_a_newer_engine(newer: tuple[Site, Nested]) -> None:
    """No fault, a fault, and a base that is nowhere, for a buildx and an engine that know `--check`."""
    site, host = newer
    settings = load("local", site.root).model_copy(update={"build": Build(bases="debian")})
    clean = inspect.build_check(settings, host)
    assert (clean.unknown, clean.scope, clean.findings) == ("", "2 targets, by BuildKit", ())
    assert result(clean) == "PASS"
    site.replace("docker/app.Dockerfile", "FROM python", "FROM python as One")
    found = inspect.build_check(settings, host)
    assert (found.unknown, {one.id for one in found.findings}) == ("", {"StageNameCasing", "FromAsCasing"})
    assert {one.place for one in found.findings} == {"docker/app.Dockerfile:1"}
    site.replace("docker/app.Dockerfile", "FROM python as One", "FROM nowhere.invalid/python")
    absent = inspect.build_check(settings, host)
    assert absent.unknown.startswith("BuildKit could not check docker/app.Dockerfile: ")
    assert result(absent) == "UNKNOWN"
