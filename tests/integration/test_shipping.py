"""Images come to hosts, layer by layer, on either image store."""

from __future__ import annotations

import gzip
import random
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.config.loader import load
from deploy.core.errors import Interrupted, OpsError, Refused
from deploy.core.shell import docker
from deploy.hosts.local import LocalHost
from deploy.images import bases, inventory, ship
from deploy.images.ship import Shipped
from tests.support.nested import Nested, engines, own_cache
from tests.support.site import ROOT, Site

__all__ = ["own_cache"]  # a fixture for every test here
SETTINGS = load("local")
BIG, SMALL = 3_000_000, 200_000
Engines = dict[str, Nested]
# what goes wrong on the way is tried on both in the nights; that images arrive, always
STORES = ["containerd", pytest.param("classic", marks=pytest.mark.night)]


class Source:
    """An app of two images that share a layer, and one image of others, on one engine."""

    def __init__(self, here: LocalHost, folder: Path) -> None:
        self.here, self.folder, self.app = here, folder, f"ship{uuid.uuid4().hex[:8]}"
        self.other = bases.read(ROOT)["busybox"].local_tag
        self.built = (f"{self.app}/backend", f"{self.app}/worker")
        self.made: dict[str, tuple[inventory.ImageTransfer, ...]] = {}

    def build(self, revision: str) -> tuple[inventory.ImageTransfer, ...]:
        """Build a revision, once: both images stand on a large file, and have a small one of their own."""
        if revision in self.made:
            return self.made[revision]
        for name in self.built:
            noise = {
                "big": random.Random(self.app).randbytes(BIG),
                "own": random.Random(name + revision).randbytes(SMALL),
            }
            lines = [f"FROM {self.other}", "COPY big /", "COPY own /"]
            self.context(name, {"Dockerfile": "\n".join(lines).encode(), **noise}, f"{name}:{revision}")
        self.made[revision] = inventory.find_transfers([*self.built, self.other], self.built, revision, self.here)
        return self.made[revision]

    def context(self, name: str, files: dict[str, bytes], tag: str) -> None:
        """Build one image of these files."""
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        for file, data in files.items():
            (folder / file).write_bytes(data)
        if isinstance(
            self.here, Nested
        ):  # a folder of its own: BuildKit goes by size and time, and docker cp cuts times to seconds
            there = f"/{uuid.uuid4().hex}"
            LocalHost().run(docker("cp", str(folder), f"{self.here.name}:{there}"))
            folder = Path(there)
        self.here.run(docker("buildx", "build", "--quiet", "--load", "--provenance=false", f"--tag={tag}", str(folder)))

    def sweep(self) -> None:
        """Remove what was built."""
        names = self.here.run(
            docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}", "--filter", f"reference={self.app}/*")
        ).split()
        self.here.try_run(docker("image", "rm", *names))


@pytest.fixture(scope="module")
def builder() -> Iterator[Nested]:
    """A classic engine to build on, with busybox."""
    with engines("classic") as (made,):
        bases.prepare(ROOT, "debian", ["busybox"], LocalHost())
        (transfer,) = inventory.find_transfers([bases.read(ROOT)["busybox"].local_tag], (), "1", LocalHost())
        ship.send([transfer], (), LocalHost(), made, lambda _: None)
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    made = Source(LocalHost(), tmp_path)
    yield made
    made.sweep()


@pytest.fixture
def classic_source(tmp_path: Path, builder: Nested) -> Iterator[Source]:
    made = Source(builder, tmp_path)
    yield made
    made.sweep()


def sent(source: Source, revision: str, host: Nested, on_bytes: Callable[[int], None] = lambda _: None) -> Shipped:
    """Ship a revision."""
    return ship.ship(source.build(revision), revision, source.folder, source.here, host, on_bytes)


def runs(transfers: tuple[inventory.ImageTransfer, ...], host: Nested) -> None:
    """Prove that images are there by digest, and run."""
    seen = inventory.observe(host)
    for transfer in transfers:
        assert host.docker("run", "--rm", seen.id(transfer.image), "busybox", "echo", "hello") == "hello\n"
        assert host.docker("image", "inspect", "--format", "{{.Id}}", transfer.kept).strip() == seen.id(transfer.image)


@pytest.mark.parametrize("target", ["containerd", "classic"])
@pytest.mark.parametrize("origin", ["source", pytest.param("classic_source", marks=pytest.mark.night)])
def test_only_what_a_host_lacks_travels(
    origin: str, target: str, stores: Engines, request: pytest.FixtureRequest
) -> None:
    """First everything, once; then the changed layers alone; then nothing."""
    app: Source = request.getfixturevalue(origin)
    host = stores[target]
    first = sent(app, "r1", host)
    assert BIG + 2 * SMALL < (first.sent or 0) < 2 * BIG  # the large layer once
    runs(app.build("r1"), host)
    second = sent(app, "r2", host)
    changed = len(gzip.compress(random.Random(f"{app.app}/backendr2").randbytes(SMALL))) * 2
    assert changed < (second.sent or 0) <= 1.05 * changed
    assert (second.skipped or 0) > BIG
    runs(app.build("r2"), host)
    assert sent(app, "r2", host).sent == 0


@pytest.mark.parametrize("store", STORES)
def test_what_was_cut_off_is_not_there_and_comes_with_the_next_run(store: str, source: Source, stores: Engines) -> None:
    def cut(so_far: int) -> None:
        if so_far > BIG:
            raise Interrupted("cut")

    with pytest.raises(Interrupted):
        sent(source, "r1", stores[store], cut)
    assert not stores[store].docker("image", "ls", "--quiet", f"{source.app}/*")
    with pytest.raises(Refused, match="does not have any images of r1: none were pushed to it"):
        inventory.require_pushed(
            SETTINGS.model_copy(update={"state": source.folder}), stores[store], "r1", source.built
        )
    assert (sent(source, "r1", stores[store]).sent or 0) > BIG
    runs(source.build("r1"), stores[store])


@pytest.mark.parametrize("store", STORES)
def test_a_layer_that_is_pruned_between_asking_and_loading_is_sent_after_all(
    store: str, source: Source, stores: Engines
) -> None:
    sent(source, "r1", stores[store])

    gone = list[int]()

    def prune(so_far: int) -> None:
        if not gone:
            gone.append(so_far)
            stores[store].docker("image", "rm", *(f"{name}:r1" for name in source.built))

    assert (sent(source, "r2", stores[store], prune).sent or 0) > BIG
    runs(source.build("r2"), stores[store])


@pytest.mark.parametrize("store", STORES)
def test_what_lacks_a_layer_is_not_believed_and_goes(store: str, source: Source, stores: Engines) -> None:
    """The containerd store says that such a load failed, and goes on showing name and id of what it has half of."""
    transfers = source.build("r1")
    layers = {layer.blob for transfer in transfers for layer in transfer.image.layers}
    host, own = stores[store], [transfer for transfer in transfers if transfer.name in source.built]
    assert ship.send(own, layers, source.here, host, lambda _: None)[1]
    for transfer in own:
        assert host.try_run(docker("image", "inspect", transfer.kept)).returncode
        assert not inventory.observe(host).has(transfer.image)
    assert (sent(source, "r1", host).sent or 0) > BIG


def test_the_doors_push_what_was_built_of_this_checkout(tiny: Site) -> None:
    """Here nothing needs to travel; the record is left as on any host."""
    refused = tiny.inv("push", code=2)
    assert "inv build --push" in refused.stderr
    built = tiny.inv("build", "--push", "--json").document
    (host,) = built["hosts"]
    assert (host["host"], host["sent"], host["error"]) == ("localhost", 0, None)
    again = tiny.inv("push", "--json").document
    assert (again["revision"], again["hosts"][0]["images"]) == (built["revision"], host["images"])
    record = inventory.read_record(LocalHost(), tiny.state, built["revision"])
    for image in built["images"]:
        assert record[image["image"]].digest == image["digest"]
        assert record[image["image"]].config == image["config_digest"]
    assert "localhost" in tiny.inv("push").stdout


@pytest.mark.parametrize("store", STORES)
def test_the_record_is_believed_as_long_as_the_engine_has_the_images(
    store: str, source: Source, stores: Engines
) -> None:
    settings = SETTINGS.model_copy(update={"state": source.folder})
    sent(source, "r1", stores[store])
    found = inventory.require_pushed(settings, stores[store], "r1", [*source.built, source.other])
    assert {name: read.digest for name, read in found.items()} == {p.name: p.image.digest for p in source.build("r1")}
    stores[store].docker("image", "rm", f"{source.built[1]}:r1")
    with pytest.raises(Refused, match=source.built[1]) as refused:
        inventory.require_pushed(settings, stores[store], "r1", source.built)
    assert (refused.value.slug, refused.value.then) == ("image-not-pushed", "inv build --push --env=local")


@pytest.mark.parametrize("store", STORES)
def test_a_full_disk_is_reported_and_leaves_nothing_that_is_believed(store: str, source: Source) -> None:
    with engines(store, disk="3m") as (host,):
        with pytest.raises(OpsError, match="no space left") as failed:
            sent(source, "r1", host)
        assert (failed.value.where, failed.value.slug) == (host.name, "disk-full")
        assert not inventory.observe(host).ids
