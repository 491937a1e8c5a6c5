"""Promise: what is planted in an image is found there, on either store.

What is waived passes; what was scanned is deployed.
"""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.config.loader import load
from deploy.config.sections import Scan
from deploy.core.shell import Command, Script, command, pipe
from deploy.hosts.local import LocalHost
from deploy.images import bases, inventory
from deploy.images.inventory import ImageTransfer
from deploy.security import database, inspect
from tests.support.advisories import IDS, Registry, served
from tests.support.nested import Nested, own_cache
from tests.support.site import ROOT, Site, docker

__all__ = ["own_cache"]  # a fixture for every test here
PACKAGES = {
    "venv/lib/python3.11/site-packages/planted_pip-1.0.dist-info/METADATA":
    "Metadata-Version: 2.1\nName: planted-pip\nVersion: 1.0\n",
    "app/node_modules/planted-npm/package.json": '{"name": "planted-npm", "version": "1.0.0"}',
    "var/lib/dpkg/status.d/planted-deb":
    "Package: planted-deb\nVersion: 1.0\nArchitecture: amd64\nMaintainer: Ann <ann@example.test>\n",
}  # fmt: skip

# a base that no FROM names: where it is not resolved as one, a registry is asked for it
FROM_A_BASE = """COPY --from=node /etc/debian_version /node_version
RUN --mount=from=node,target=/n ["python3.11", "-c", "open('/n/etc/debian_version')"]
"""


class Elsewhere(LocalHost):
    """This machine, whose `docker` is that of a nested engine."""

    def __init__(self, engine: Nested) -> None:
        self.nested = engine

    def run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> str:
        stages = [self.nested.inside(one) if one.argv[0] == "docker" else one for one in getattr(command, "stages", ())]
        command = pipe(*stages) if isinstance(command, Script) else command
        return super().run(command, stdin=stdin, timeout=timeout)


def plant(folder: Path, key: str) -> None:
    """Write packages with known vulnerabilities, and a key, as an image has them."""
    for path, text in {**PACKAGES, "app/.env": f"AWS_ACCESS_KEY_ID={key}\n"}.items():
        (folder / "planted" / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / "planted" / path).write_text(text)


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with served() as registry:
        yield registry


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image on a base of ours, whose own layer is plain, with a gzipped layer above."""
    folder, name = tmp_path_factory.mktemp("planted"), f"ops-test/planted-{uuid.uuid4().hex[:8]}:1"
    plant(folder, "AKIA" + "".join(random.choices(string.ascii_uppercase, k=16)))
    base = bases.prepare(ROOT, "debian", ["busybox"], LocalHost())["busybox"]
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY planted /\n")
    docker("buildx", "build", "--quiet", "--load", "--provenance=false", f"--tag={name}", str(folder))
    yield name
    docker("image", "rm", name)


@pytest.mark.parametrize("store", ["containerd", pytest.param("classic", marks=pytest.mark.night)])
def test_planted_packages_are_found_in_an_image_as_it_is(
    planted: str, registry: Registry, stores: dict[str, Nested], store: str, record_property: Callable[..., None]
) -> None:
    """Three packages, one of each ecosystem, and a key; the SBOM names the packages; the digest is the engine's own."""
    here = LocalHost()
    if store == "classic":
        here = Elsewhere(stores[store])
        send = pipe(command("docker", "save", planted), stores[store].inside(command("docker", "load")))
        LocalHost().run(send)
    image = inventory.read_archive(planted, f"sha256:{store}", here if store == "containerd" else stores[store])
    settings = load("local").model_copy(update={"scan": Scan(databases=[registry.repository])})
    data, failed = database.update(settings, LocalHost())
    assert (data.unknown, failed) == ("", "")
    inspections, inspected = inspect.image(ImageTransfer(planted, planted, image), settings, here, data)
    by_kind = {inspection.kind: inspection for inspection in inspections}
    found = {one.id for one in by_kind["vulnerabilities"].findings}
    record_property("report", f"planted packages found, {store} store: {len(found)} of {len(IDS)}")
    assert found == set(IDS.values())
    assert [one.path for one in by_kind["secrets"].findings] == ["/app/.env"]
    assert [inspection.unknown for inspection in inspections] == ["", "", ""]
    assert all(name in inspected.sbom for name in ("planted-pip", "planted-npm", "planted-deb"))
    own = docker("image", "inspect", "--format", "{{.Id}}", planted).strip()
    assert own == inspected.digest if store == "containerd" else inspected.config in stores[store].docker(
        "image", "inspect", "--format", "{{.Id}}", planted
    )  # fmt: skip


def waiver(ending: str) -> str:
    """Accept all three."""
    return "".join(
        f'[[vulnerabilities]]\nid = "{found}"\nstatement = "a test"\nowner = "ann"\nexpired_at = {ending}\n\n'
        for found in IDS.values()
    )


def test_what_is_planted_is_found_then_waived_then_deployed(tiny: Site, registry: Registry) -> None:
    """A registry that is busy is asked again.

    FAIL while the waivers have expired; only after a PASS is the digest deployed.
    """
    registry.faults += [429]
    plant(tiny.root / "app", "none")
    tiny.replace("docker/app.Dockerfile", "USER", f"COPY planted /\n{FROM_A_BASE}USER")
    tiny.write("deploy/waivers.toml", waiver("2026-01-01"))
    tiny.commit()
    tiny.extra |= {
        "OPS_SCAN__DATABASES": f'["{registry.repository}"]', "OPS_SCAN__REQUIRED": "true",
        "OPS_SCAN__WITHOUT_PACKAGES": f'["{tiny.app}/edge"]',  # it is of Debian testing here
        "OPS_SCAN__SKIP": '["misconfigurations", "dockerfiles", "shell"]',
    }  # fmt: skip
    tiny.inv("build")
    found = tiny.inv("scan", "--json", code=3).document
    blocking = {one["id"]: one["next"] for one in found["findings"] if one["state"] == "blocks"}
    assert blocking.keys() == {*IDS.values(), "waiver"}
    assert blocking[IDS["npm"]] == "npm install planted-npm@2.0.0"
    assert tiny.inv("deploy", "--json", code=3).document["slug"] == "image-not-scanned"
    tiny.write("deploy/waivers.toml", waiver("2999-01-01"))
    tiny.commit("waivers")
    tiny.inv("build")
    scanned = tiny.inv("scan", "--json").document
    assert {one["result"] for one in scanned["images"]} == {"PASS"}
    assert tiny.inv("deploy", "--json").document["release"]
    kept = {path.name for path in (tiny.state / "scans").iterdir()}
    for image in scanned["images"]:
        assert f"{image['digest'].removeprefix('sha256:')}.json" in kept
        assert f"{image['digest'].removeprefix('sha256:')}.cdx.json" in kept


def test_an_old_database_is_unknown() -> None:
    """And one that is not given is, with what Trivy says of that."""
    with served(hours=72) as registry:
        settings = load("local").model_copy(update={"scan": Scan(databases=[registry.repository])})
        data, _ = database.update(settings, LocalHost())
    assert "3 days old" in data.unknown
    nowhere = settings.model_copy(update={"scan": Scan(databases=["127.0.0.1:1/trivy-db:2"])})
    data, failed = database.update(nowhere, LocalHost())
    assert data.unknown == "no vulnerability database"
    assert "refused" in failed
