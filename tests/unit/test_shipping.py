"""Which blobs travel, what an archive is made of, why a registry failed."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path
from time import sleep

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.core.errors import OpsError, Refused
from deploy.core.shell import Command, Result, Secret
from deploy.hosts.local import LocalHost
from deploy.images import archive, inventory, registry, show, tags
from deploy.images.archive import Archived, Layer
from deploy.images.push import PushResult, require_room, to_all
from deploy.images.ship import Shipped
from tests.support.samples import settings


def image(*layers: str) -> Archived:
    """Make an image of layers, each one's blob named after it and 10 bytes long."""
    return Archived(
        digest="m", config="c", layers=tuple(Layer(blob=f"blobs/{name}", diff=name, size=10) for name in layers)
    )


@pytest.mark.parametrize(
    ("images", "there", "spared"),
    [
        ([image("a", "b")], [], []),
        ([image("a", "b")], [["a"]], ["a"]),
        ([image("a", "b")], [["a", "b", "c"]], ["a", "b"]),
        ([image("a", "b")], [["b", "a"]], []),
        ([image("a", "b"), image("a", "c")], [["a", "b"]], ["a", "b"]),
        ([image("a", "b"), image("c", "b")], [["a", "b"]], ["a"]),
        ([image("a", "a")], [["a"]], []),
    ],
    ids=["nothing", "base", "all", "other-order", "shared", "one-of-two-chains", "twice-in-one"],
)
def test_a_blob_stays_here_only_where_every_image_finds_its_chain(
    images: list[Archived], there: list[list[str]], spared: list[str]
) -> None:
    present = [name for diffs in there for name in archive.chain(diffs)]
    assert archive.skippable(images, present) == {f"blobs/{name}": 10 for name in spared}


def test_chains_are_named_as_the_image_specification_has_it() -> None:
    two = hashlib.sha256(b"sha256:a sha256:b").hexdigest()
    assert archive.chain(["sha256:a", "sha256:b"]) == ["sha256:a", f"sha256:{two}"]
    assert archive.chain([]) == []


def saved(blobs: dict[str, bytes]) -> bytes:
    """Make a tar as `docker save` does."""
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as tar:
        folder = tarfile.TarInfo("blobs/")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, data in blobs.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return held.getvalue()


def copied(tar: bytes, without: list[str]) -> bytes:
    """Copy an archive."""
    return b"".join(archive.copied(io.BytesIO(tar), without))


@given(
    st.dictionaries(
        st.sampled_from("abcdef"),
        st.binary(max_size=2000) | st.just(b"y" * 70_000) | st.just(gzip.compress(bytes(range(256)) * 9)),
    ),
    st.sets(st.sampled_from("abcdef")),
)
def test_a_copy_has_everything_but_what_is_left_out(blobs: dict[str, bytes], without: set[str]) -> None:
    made = copied(saved(blobs), list(without))
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(made))) as tar:
        found = {member.name: file.read() for member in tar if (file := tar.extractfile(member))}
    assert found == {name: data for name, data in blobs.items() if name not in without}


def test_a_blob_is_compressed_once() -> None:
    plain = b"".join(b"%d " % number for number in range(200_000))
    packed = gzip.compress(plain, archive.LEVEL)
    for data in (plain, packed):
        assert len(copied(saved({"blob": data}), [])) < 1.01 * len(packed) + 300
    assert packed[:60_000] in copied(saved({"blob": packed}), [])


def test_what_is_cut_off_is_no_whole_archive() -> None:
    made = copied(saved({"a": b"x" * 5000, "index.json": b"{}"}), [])
    for end in (10, len(made) // 2, len(made) - 1):
        with pytest.raises(EOFError):
            gzip.decompress(made[:end])


BLOBS = {
    "blobs/sha256/c": json.dumps({"rootfs": {"diff_ids": ["sha256:d1", "sha256:d2"]}}).encode(),
    "blobs/sha256/l1": b"12345", "blobs/sha256/l2": b"1",
    "index.json": json.dumps({"manifests": [{"digest": "sha256:m"}]}).encode(),
    "manifest.json": json.dumps([{"Config": "blobs/sha256/c",
                                  "Layers": ["blobs/sha256/l1", "blobs/sha256/l2"]}]).encode(),
}  # fmt: skip


def test_an_archive_says_what_its_image_is_made_of() -> None:
    found = archive.read(io.BytesIO(saved(BLOBS)))
    assert (found.digest, found.config) == ("sha256:m", "sha256:c")
    assert [(layer.blob[-2:], layer.diff, layer.size) for layer in found.layers] == [
        ("l1", "sha256:d1", 5),
        ("l2", "sha256:d2", 1),
    ]


@pytest.mark.parametrize("archived", [saved(BLOBS), b""], ids=["whole", "none"])
def test_a_warning_of_the_client_is_no_part_of_an_archive(
    archived: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`docker` warns of a configuration that it may not read, for example, and goes on."""
    (tmp_path / "archive").write_bytes(archived)
    (tmp_path / "docker").write_text(f"#!/bin/sh\necho 'WARNING: config.json' >&2\ncat {tmp_path}/archive\n")
    (tmp_path / "docker").chmod(0o755)
    for name, value in {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "XDG_CACHE_HOME": str(tmp_path),
        "DOCKER_HOST": "unix:///none",
    }.items():
        monkeypatch.setenv(name, value)
    if archived:
        assert inventory.read_archive("web:r1", "sha256:i", LocalHost()).digest == "sha256:m"
    else:
        with pytest.raises(OpsError, match=r"did not print an image archive:\nWARNING: config.json"):
            inventory.read_archive("web:r1", "sha256:i", LocalHost())


def test_each_store_has_its_own_name_for_an_image() -> None:
    assert inventory.Inventory(True, frozenset()).id(image()) == "c"
    assert inventory.Inventory(False, frozenset()).id(image()) == "m"
    assert inventory.Inventory(True, frozenset({"c"})).has(image())
    assert not inventory.Inventory(False, frozenset({"c"})).has(image())


@pytest.mark.parametrize(
    ("name", "kept", "place"),
    [
        ("shop/web", "shop/web:r1", "hub.example.org/team/shop/web:r1"),
        ("postgres:15", "postgres:15", "hub.example.org/team/postgres:15"),
        ("quay.io/a/b@sha256:1", "quay.io/a/b:r1", "hub.example.org/team/a/b:r1"),
        ("localhost:5000/a", "localhost:5000/a:r1", "hub.example.org/team/a:r1"),
        ("postgres:15@sha256:1", "postgres:15", "hub.example.org/team/postgres:15"),
    ],
)
def test_names_that_images_keep(name: str, kept: str, place: str) -> None:
    assert tags.kept(name, "r1") == kept
    assert registry.place("hub.example.org/team", kept) == place


@pytest.mark.parametrize(
    ("output", "slug", "transient"),
    [
        ("received unexpected HTTP status: 500 Internal Server Error", "registry-error", True),
        ("toomanyrequests: You have reached your pull rate limit", "registry-busy", True),
        ("unauthorized: authentication required", "registry-unauthorized", False),
        ("denied: requested access to the resource is denied", "registry-denied", False),
        ("dial tcp: lookup hub.example.org: no such host", "registry-unreachable", True),
        ("x509: certificate signed by unknown authority", "registry-untrusted", False),
        ("remote error: tls: handshake failure", "registry-untrusted", False),
        ("net/http: TLS handshake timeout", "registry-unreachable", True),
        ("lookup hub.example.org on 127.0.0.53:53: server misbehaving", "registry-unreachable", True),
        ("write tcp 10.0.0.1:4->10.0.0.2:443: write: broken pipe", "registry-unreachable", True),
        ("write /var/lib/docker/tmp/GetImageBlob1: no space left on device", "disk-full", False),
        ("something else", "registry-failed", False),
        ("manifest for sha256:5004291429f", "registry-failed", False),
    ],
)
def test_why_a_registry_failed(output: str, slug: str, transient: bool) -> None:
    cause = registry.cause(output)
    assert (cause.slug, cause.transient) == (slug, transient)


class Registry(LocalHost):
    """A machine whose pushes are denied, and the commands that it got."""

    def __init__(self) -> None:
        self.commands = list[str]()

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        self.commands.append(" ".join(command.argv[:3]))
        if command.argv[1] == "push":
            assert timeout > 3600, "an image of a gigabyte over a slow line"
        return Result(int(command.argv[1] == "push"), "null", "denied")


@pytest.mark.parametrize(("kept", "removed"), [("hub.example.org/web:r1", False), ("web:r1", True)])
def test_the_name_that_an_image_keeps_outlives_its_push(kept: str, removed: bool) -> None:
    """An app may call its images as they are called in the registry."""
    who, here = registry.Account("hub.example.org", "", Secret("")), Registry()
    with pytest.raises(OpsError, match="does not let this user push") as failed:
        registry.publish_one(inventory.ImageTransfer("web", kept, image()), who, here, False, ())
    assert failed.value.slug == "registry-denied"
    assert "docker push hub.example.org/web:r1" in here.commands
    assert ("docker image rm" in here.commands) is removed


class Shared(LocalHost):
    """A host where each name that was pulled is gone at once, as another push of the same image takes it off."""

    def __init__(self) -> None:
        self.tagged = list[tuple[str, ...]]()

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        match command.argv[1:]:
            case ("tag", source, _) if "@" in source:
                return Result(1, "", f"No such image: {source}")
            case ("tag", *words):
                self.tagged.append(tuple(words))
            case ("info", *_):
                return Result(0, "io.containerd.snapshotter.v1", "")
        return Result(0, "m\n" if command.argv[1:3] == ("image", "ls") else "", "")


def test_two_pushes_of_one_image_take_no_name_from_each_other() -> None:
    """Two tags at once: the one that pulled second names the image by what it is, not by the name that is gone."""
    host, who = Shared(), registry.account(settings(ship={"by": "registry", "registry": "hub.example.org"}))
    registry.fetch_one(inventory.ImageTransfer("app", "app:r2", image("a")), who, host, ())
    assert host.tagged == [("m", "app:r2")]


def bring(failing: dict[str, BaseException], name: str) -> Shipped:
    if name in failing:
        raise failing[name]
    return Shipped(name, 3, 1_500_000, 2, 1.0)


def hosts(*names: str) -> list[LocalHost]:
    found = [LocalHost() for _ in names]
    for host, name in zip(found, names, strict=True):
        host.name = name
    return found


def test_a_host_that_is_down_keeps_no_other_from_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    (host,) = hosts("down")

    def refused(*_: object) -> str:
        raise Refused("nothing listens at 192.0.2.1:22")

    monkeypatch.setattr(host, "run", refused)
    monkeypatch.setattr(host, "try_run", refused)
    require_room(settings(), host)


def test_one_host_that_fails_keeps_no_other_from_its_images(capsys: pytest.CaptureFixture[str]) -> None:
    failing: dict[str, BaseException] = {
        "b": OpsError("no space left", where="b", then="inv disk"),
        "c": OSError("cable cut"),
    }
    outcome = to_all(hosts("a", "b", "c", "d"), "r1", 2, lambda host, _: bring(failing, host.name))
    assert [one.host for one in outcome.shipped] == ["a", "d"]
    with pytest.raises(OpsError, match=r"(?s)b: no space left.*c: cable cut") as failed:
        show.pushed(outcome, json=True)
    assert failed.value.code == 1
    assert failed.value.documented
    document = json.loads(capsys.readouterr().out)
    assert [(host["host"], host["sent"], host["error"]) for host in document["hosts"]] == [
        ("a", 1_500_000, None), ("d", 1_500_000, None), ("b", None, "no space left"), ("c", None, "cable cut"),
    ]  # fmt: skip
    show.pushed(PushResult("r1", outcome.shipped, {}), json=False)
    assert "1.50 MB" in capsys.readouterr().out


class Engine(LocalHost):
    """A host whose engine is of one architecture, none where it does not answer, and whose images are of others."""

    def __init__(self, name: str, runs: str, images: str = "") -> None:
        self.name, self.runs, self.images = name, runs, images

    def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
        if command.argv[1] == "version":
            return Result(not self.runs, self.runs, "no engine")
        return Result(0, self.images, "")


def test_images_for_another_processor_are_refused() -> None:
    transfers = [inventory.ImageTransfer(name, f"{name}:r1", image(name)) for name in ("web", "edge")]
    here = Engine("localhost", "arm64", "amd64\narm64\n")
    amd64 = Engine("localhost", "arm64", "amd64\namd64\n")
    inventory.require_architecture(transfers, amd64, [Engine("app1", "amd64"), Engine("app2", "")], 8)
    with pytest.raises(
        Refused, match=r"(?s)app1 is amd64; built for another: edge \(arm64\).*app2 is arm64; .*: web \(amd64\)"
    ) as raised:
        inventory.require_architecture(transfers, here, [Engine("app1", "amd64"), Engine("app2", "arm64")], 8)
    assert (raised.value.where, raised.value.slug, raised.value.code) == ("app1, app2", "architecture-mismatch", 2)
    assert "platforms" in raised.value.then


def test_no_more_hosts_are_asked_at_once_than_are_meant() -> None:
    working, most = set[str](), list[int]()

    class Slow(Engine):
        def try_run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> Result:
            working.add(self.name)
            most.append(len(working))
            sleep(0.02)
            working.discard(self.name)
            return super().try_run(command, stdin=stdin, timeout=timeout)

    many = [Slow(f"app{number}", "amd64") for number in range(6)]
    inventory.require_architecture(
        [inventory.ImageTransfer("web", "web:r1", image("a"))], Engine("localhost", "", "amd64\n"), many, 2
    )
    assert max(most) == 2


def test_ctrl_c_stops_what_the_other_hosts_receive() -> None:
    with pytest.raises(KeyboardInterrupt):
        to_all(hosts("a"), "r1", 1, lambda host, _: bring({"a": KeyboardInterrupt()}, host.name))


def test_a_damaged_record_is_no_record(tmp_path: Path) -> None:
    host = LocalHost()
    host.write(inventory.record_file(tmp_path, "r1"), "{half of")
    assert inventory.read_record(host, tmp_path, "r1") == {}
    host.write(inventory.record_file(tmp_path, "r1"), '{"web": {"digest": "m", "config": "c"}}')
    assert inventory.read_record(host, tmp_path, "r1")["web"].digest == "m"
