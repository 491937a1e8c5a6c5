"""Disk and prune on a fake host: what takes space, what may go and what may not."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deploy.core.errors import Locked, Refused
from deploy.core.shell import Command, Result
from deploy.hosts.local import LocalHost
from deploy.images import inventory
from deploy.insight import disk, prune
from deploy.insight.space import FileSystem, file_systems
from deploy.rollout import commands
from deploy.state import locks
from deploy.state.scans import Scan, Scans
from tests.flow.test_days_work import Printed
from tests.support.fake import DONE
from tests.support.place import Place

USED = {
    "LayersSize": 5_000_000, "Images": [
        {"Id": "i0", "RepoTags": ["app/backend:r0"], "Labels": None},
        {"Id": "i1", "RepoTags": ["app/backend:r1", "app/backend:latest"], "Labels": None},
        {"Id": "i2", "RepoTags": ["app/backend:r2"], "Labels": None},
        {"Id": "i3", "RepoTags": [], "Labels": {"bookreader-ops.image": "app/backend"}},
        {"Id": "i4", "RepoTags": None, "Labels": {"org": "other"}},
    ],
    "Volumes": [
        {"Name": "shop-local_data", "Labels": {disk.PROJECT: "shop-local"}, "UsageData": {"Size": 7_000_000_000}},
        {"Name": "x", "Labels": None, "UsageData": {"Size": -1}},
    ],
    "BuildCache": [{"Size": 12_000_000_000, "Shared": False}, {"Size": 9, "Shared": True}],
}  # fmt: skip


@pytest.fixture
def used(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """An engine whose space is known, and whose build cache can be pruned."""
    usual = place.host.try_run

    def try_run(command: Command, **more: Any) -> Result:
        if command.argv[1] != "builder":
            return usual(command, **more)
        place.host.executed.append(str(command))
        return DONE

    monkeypatch.setattr(place.host, "try_run", try_run)
    for name, value in {"usage": USED, "folder": place.state.folder}.items():
        monkeypatch.setattr(place.host.engine, name, lambda value=value: value, raising=False)
    monkeypatch.setattr(place.host.engine, "log_file", lambda _: Path("/nowhere/log"), raising=False)
    place.host.executed.clear()
    return place


def removals(place: Place) -> list[str]:
    """What was removed from the engine."""
    return [words for words in place.host.executed if " rm " in words or "prune" in words]


def test_prune_takes_what_nobody_goes_back_to_and_nothing_else(used: Place) -> None:
    assert prune.find_waste(used.settings, used.host, USED) == prune.Waste(
        ("r0",), (), ("app/backend:r0",), ("i3",), 2_000_000_000
    )
    assert used.state.kept() == ["r0", "r1", "r2"]
    prune.prune(used.at, yes=True, json=False)
    assert used.state.kept() == ["r1", "r2"]
    assert removals(used) == [
        "docker image rm app/backend:r0 i3",
        "docker builder prune --force --keep-storage 10000000000",
    ]
    assert prune.find_waste(used.settings, used.host, USED).releases == ()
    assert [item.next for item in disk.measure(used.settings, used.host).items if item.what == "state"] == [disk.STATE]


def test_prune_keeps_what_a_rollback_or_a_resume_goes_to(used: Place) -> None:
    used.state.note(command="deploy", state="begin", target="r0")
    assert prune.find_waste(used.settings, used.host, USED).releases == ()
    used.deploy("r3")
    assert prune.find_waste(used.settings, used.host, USED).releases == ("r1",)
    commands.rollback(used.at)
    assert (used.serving(), used.state.served()) == ("r2", ["r2", "r3", "r1", "r0"])
    assert prune.find_waste(used.settings, used.host, USED).releases == ()  # the next inv rollback goes to r1
    commands.rollback(used.at)
    assert used.serving() == "r1"


def test_prune_takes_what_was_brought_and_never_served_but_for_the_last(used: Place) -> None:
    """As where CI pushes every commit, and some are deployed."""
    for age, revision in enumerate(("new", "old", "older")):
        record = inventory.record_file(used.settings.state_dir, revision)
        used.host.write(record, "{}")
        os.utime(record, (1_000_000_000 - age, 1_000_000_000 - age))
    assert prune.find_unused_revisions(used.settings, used.host, {"old-333333"}) == ("older",), (
        "a release of it is kept"
    )
    tagged = {
        "Images": [{"Id": "i", "RepoTags": ["app/backend:new", "app/backend:old"], "Labels": None}],
        "BuildCache": [],
    }
    found = prune.find_waste(used.settings, used.host, tagged)
    assert (found.revisions, found.names) == (("old", "older"), ("app/backend:old",))
    prune.prune(used.at, yes=True, json=False)
    assert used.host.listdir(used.settings.state_dir / "images") == ["new.json"]
    assert prune.find_waste(used.settings, used.host, tagged).revisions == ()


def scanned(place: Place, digest: str, *, days: float) -> str:
    """Keep a scan and an SBOM by a digest, written so long ago; return the digest."""
    scan = Scan(image="app", digest=digest, config="", result="PASS", scanned="2026-11-30T09:00:00Z", who="ann",
                revision="r", scanner="trivy")  # fmt: skip
    Scans(place.host, place.settings.state_dir).keep(scan, "{}")
    then = time.time() - days * 86400
    for ending in ("json", "cdx.json"):
        os.utime(Scans(place.host, place.settings.state_dir).path(digest, ending), (then, then))
    return digest


def test_prune_takes_scans_that_have_aged_of_images_that_are_gone(used: Place) -> None:
    """Not of what serves, of what was pushed and may be deployed, nor of what was scanned just now."""
    serves = {digest for release in ("r1", "r2") for digest in used.state.release(release).images.values()}
    record = inventory.record_file(used.settings.state_dir, "new")
    used.host.write(record, json.dumps({"version": 1, "images": {"app": {"digest": "sha256:a", "config": "sha256:b"}}}))
    kept = {scanned(used, digest, days=30) for digest in (*serves, "sha256:a", "sha256:b")}
    kept.add(scanned(used, "sha256:new", days=6))
    scanned(used, "sha256:gone", days=8)
    folder = used.settings.state_dir / "scans"
    assert prune.find_waste(used.settings, used.host, USED).scans == (folder / "gone.cdx.json", folder / "gone.json")
    prune.prune(used.at, yes=True, json=False)
    left = {str(path.relative_to(folder)).partition(".")[0] for path in folder.rglob("*.json")}
    assert left == {one.removeprefix("sha256:") for one in kept}
    (used.state.bundle_folder("r1") / "release.json").write_text("{")
    scanned(used, "sha256:gone", days=8)
    assert prune.find_waste(used.settings, used.host, USED).scans == (), "r1 may be made of it"


def test_prune_takes_names_of_revisions_with_their_last_release() -> None:
    assert prune.without_release({"abc-111111", "def-dirty-123456-222222"}, {"abc-333333"}) == {"def-dirty-123456"}
    assert prune.without_release({"r0"}, set()) == set()


def test_prune_asks_before_and_holds_the_lock(used: Place, capsys: Printed) -> None:
    with pytest.raises(Refused, match=r"removed for good.*stdin is not a terminal"):
        prune.prune(used.at, yes=False, json=False)
    with locks.held([used.host], used.state.folder, "deploy"), pytest.raises(Locked, match="locked by"):
        prune.prune(used.at, yes=True, json=False)
    assert (used.state.kept(), removals(used)) == (["r0", "r1", "r2"], [])
    capsys.readouterr()
    prune.prune(used.at, yes=True, json=True)
    entry = json.loads(capsys.readouterr().out)
    assert entry.pop("freed_bytes") > 0
    assert entry == {"releases": ["r0"], "images": ["app/backend:r0"], "unnamed_images": 1, "scans": 0}


def test_what_changed_while_the_person_was_asked_is_not_removed(used: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.core.console.confirm", lambda *_, **__: used.deploy("r3"))
    with pytest.raises(Refused, match="was deployed meanwhile"):
        prune.prune(used.at, yes=False, json=False)


def test_disk_names_the_largest_and_the_command_for_it(used: Place, capsys: Printed) -> None:
    found = disk.measure(used.settings, used.host)
    found = replace(found, items=tuple(item for item in found.items if item.what != "other"))
    assert [(item.what, item.bytes) for item in found.items[:3]] == [
        ("build cache", 12_000_000_000), ("volume", 7_000_000_000), ("images", 5_000_000)
    ]  # fmt: skip
    assert {item.bytes for item in found.items if item.what == "log"} == {None}
    disk.show_disks({"localhost": found}, "local", json=True)
    document = json.loads(capsys.readouterr().out)["hosts"][0]
    assert (document["items"][1]["name"], document["next"]) == ("shop-local_data", "inv prune")
    disk.show_disks({"localhost": replace(found, free={"/x": 1_500_000_000})}, "local", json=False)
    output = capsys.readouterr()
    assert "! 1.5 GB free at /x; a deploy needs 2.0 GB" in output.err
    assert "largest: build cache, 12.0 GB\nnext: inv prune" in output.err
    assert "only root may read it" in output.out


def test_disk_counts_all_that_is_used(used: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also what others wrote, and what images were loaded from: the items of a file system add up to what is used."""
    engine = tmp_path / "engine"
    store = "containerd/daemon"
    sizes = {"containers/x/x-json.log": 1000, f"{store}/{disk.CONTENT}/blobs/a": 2000}
    for name, size in sizes.items():
        (engine / name).parent.mkdir(parents=True)
        (engine / name).write_bytes(b"x" * size)
    monkeypatch.setattr(used.host.engine, "folder", lambda: engine, raising=False)
    monkeypatch.setattr(disk, "CONTAINERD", tmp_path / "nowhere")
    (engine / store / disk.SNAPSHOTS).mkdir()
    with (engine / store / disk.SNAPSHOTS / "layer").open("wb") as layer:
        layer.truncate(12_300_000_000)  # of which 12 GB are the build cache
    system = FileSystem(1, "/", 40_000_000_000)
    monkeypatch.setattr(disk, "file_systems", lambda _, places: dict.fromkeys(places, system))
    items = disk.measure(used.settings, used.host).items
    sizes = {item.what: item.bytes or 0 for item in items}
    assert sizes["logs"] >= 1000
    assert sizes["image blobs"] >= 2000
    assert 300_000_000 <= sizes["images"] < 301_000_000
    assert sum(item.bytes or 0 for item in items) == system.used
    (other,) = [item for item in items if item.what == "other"]
    assert (other.name, other.next) == ("the rest of /", "as root: du -xh --max-depth=3 / | sort -h | tail -n 20")


def test_what_is_counted_is_taken_from_its_own_file_system() -> None:
    counted = [(Path("/a"), disk.Item("a", "", 7, "")), (Path("/b"), disk.Item("b", "", None, ""))]
    systems = {Path("/a"): FileSystem(1, "/", 10), Path("/b"): FileSystem(2, "/data", 5)}
    assert [(item.name, item.bytes) for item in disk.rest(counted, systems)] == [
        ("the rest of /", 3), ("the rest of /data", 5)
    ]  # fmt: skip
    assert [*disk.rest(counted[:1], {Path("/a"): FileSystem(1, "/", 6)})] == [], "a sparse file may count for more"
    twice = {Path("/a"): FileSystem(1, "/", 10), Path("/b"): FileSystem(1, "/b", 10)}
    assert [(item.name, item.bytes) for item in disk.rest(counted, twice)] == [("the rest of /", 3)]


def test_volumes_that_nobody_uses_and_those_of_backups_have_their_own_command() -> None:
    def volume(name: str, count: int, **labels: str) -> dict[str, Any]:
        return {"Name": name, "Labels": labels, "UsageData": {"Size": 5, "RefCount": count}}

    own = {disk.PROJECT: "shop-local"}
    volumes = [volume("data", 0, **own), volume("kept", 1, **own, **{disk.VOLUME: "backups"}),
               volume("x", 1), volume("y", 0), volume("z", 0)]  # fmt: skip
    used = {"LayersSize": 0, "BuildCache": [], "Volumes": volumes}
    found = [item for item in disk.engine_items(used, "shop-local", prune.NOTHING) if item.what.startswith("volume")]
    assert [(item.name, item.bytes, item.next) for item in found] == [
        ("data", 5, disk.DATA), ("kept", 5, disk.BACKUPS), ("1 that are not shop-local's", 5, disk.OTHERS),
        ("2 that are used by no container, and not shop-local's", 10, disk.UNUSED),
    ]  # fmt: skip


def test_a_place_that_is_not_there_yet_is_on_the_file_system_of_the_folder_above(tmp_path: Path) -> None:
    systems = file_systems(LocalHost(), [tmp_path, tmp_path / "not" / "there"])
    assert systems[tmp_path].number == systems[tmp_path / "not" / "there"].number
    assert systems[tmp_path].used > 0
    assert Path(systems[tmp_path].target).is_dir()
