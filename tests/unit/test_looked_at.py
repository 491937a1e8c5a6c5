"""Promise: what a scan passes is what runs, and nothing that is found goes by a name that changes."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from deploy.images import archive
from deploy.security import boltdb, database, judge, trivy
from deploy.security.findings import Finding, Inspection, ScannedImage
from deploy.security.scan import summarize, without_skipped
from deploy.security.waivers import Waiver
from tests.support.advisories import PAGE, Json, Pages
from tests.support.scanning import DATA, SETTINGS, Bench, answer, results

IMAGE = "bookreader/backend"
UNKNOWN = dict.fromkeys(("vulnerabilities", "end-of-life", "secrets"), "UNKNOWN")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def test_a_report_of_another_image_passes_nothing_and_is_not_kept(bench: Bench) -> None:
    """As of an index for several platforms, of which Trivy reads the first, and the engine runs another."""
    metadata = answer()["Metadata"]
    bench.answers(answer(Metadata={**metadata, "ImageID": "sha256:arm"}))
    inspections = bench.look(IMAGE)
    assert results(inspections) == UNKNOWN
    assert "looked at sha256:arm, and what runs is sha256:bb: an image for several platforms" in inspections[0].unknown
    bench.answers(answer())
    assert set(results(bench.look(IMAGE)).values()) == {"PASS"}
    for kept in bench.folder.rglob("reports/*.json"):
        kept.write_text(json.dumps(answer(Metadata={**metadata, "ImageID": "sha256:arm"})))
    assert results(bench.look(IMAGE)) == UNKNOWN


@pytest.mark.parametrize("folder", ["/tmp/ops-scan-1", "/tmp/ops-scan-2"])  # noqa: S108  # nothing is there
def test_a_secret_in_an_images_configuration_has_the_same_name_in_every_scan(folder: str) -> None:
    """Trivy calls it by the folder that the image was unpacked into, which is another one each time."""
    secret = {"RuleID": "github-pat", "Severity": "CRITICAL", "Title": "GitHub Personal Access Token", "StartLine": 7}
    found = {"Target": folder, "Class": "secret", "Secrets": [secret]}
    (finding,) = trivy.secrets(trivy.read(json.dumps(answer(ArtifactName=folder, Results=[found]))), IMAGE)
    assert finding.fingerprint == f"secrets|github-pat|{IMAGE}|{trivy.CONFIGURATION}|"


def test_of_an_image_for_several_platforms_the_one_that_runs_is_read(tmp_path: Path) -> None:
    """Trivy takes the first that an index names, whatever `--platform` says."""
    (tmp_path / "blobs/sha256").mkdir(parents=True)
    manifests = {name: {"config": {"digest": f"sha256:of-{name}"}, "layers": []} for name in ("arm", "amd")}
    others = {"index": {"manifests": [{"digest": "sha256:arm"}, {"digest": "sha256:amd"}]}, "list": [1], "layer": "a"}
    for name, document in {**manifests, **others}.items():
        (tmp_path / "blobs/sha256" / name).write_text(json.dumps(document))
    (tmp_path / "blobs/sha256/binary").write_bytes(b"\x1f\x8b\xff")
    archive.keep_one(tmp_path, "sha256:of-amd")
    (named,) = json.loads((tmp_path / "index.json").read_text())["manifests"]
    assert (named["digest"], named["mediaType"]) == ("sha256:amd", archive.MANIFEST)


RELEASES = {
    "debian 13.1": "", "debian 14.0": "debian 14", "ubuntu 24.04": "", "ubuntu 16.04-ESM": "",
    "ubuntu 99.04": "ubuntu 99.04", "alpine 3.19.1": "", "alpine 3.99.0": "alpine 3.99", "rocky 9.3": "",
}  # fmt: skip


@pytest.mark.parametrize("release", RELEASES)
def test_a_release_for_which_the_database_has_no_advisories_passes_nothing(release: str) -> None:
    """Trivy counts its packages, and finds nothing; how the database names others' releases is not looked up."""
    family, _, name = release.partition(" ")
    metadata = answer()["Metadata"] | {"OS": {"Family": family, "Name": name}}
    found = frozenset({"debian 13", "ubuntu 24.04", "ubuntu 16.04", "alpine 3.19", "vulnerability"})
    inspections = trivy.image_inspections(
        trivy.read(json.dumps(answer(Metadata=metadata))), IMAGE, replace(DATA, releases=found), least=2
    )
    missing = RELEASES[release]
    words = f"the vulnerability database has no advisories for {missing}" if missing else ""
    assert [one.unknown for one in inspections] == [words, "", ""]


def test_the_databases_own_names_are_read_from_its_first_page_and_those_below(bench: Bench) -> None:
    """Real ones have many: a page that names others, here of two with a name each; damage there is UNKNOWN."""
    inspections = bench.look(IMAGE)
    assert inspections[0].unknown == ""
    (place,) = bench.folder.rglob("trivy.db")
    assert {"debian 12", "vulnerability"} <= boltdb.buckets(place)
    pages = Pages()
    pages.next = 6
    leaves = [pages.add({name: Json()}, number) for number, name in ((4, "debian 12"), (5, "vulnerability"))]
    keys = (b"debian 12", b"vulnerability")
    heads = struct.pack("<IIQ", 32, len(keys[0]), leaves[0]) + struct.pack(
        "<IIQ", 16 + len(keys[0]), len(keys[1]), leaves[1]
    )
    root = struct.pack("<QHHI", 3, boltdb.BRANCH, 2, 0) + heads + b"".join(keys)
    whole = [pages.meta(0), pages.meta(1), bytes(PAGE), root.ljust(PAGE, b"\0"), pages.pages[4], pages.pages[5]]
    place.write_bytes(b"".join(whole))
    assert boltdb.buckets(place) == {"debian 12", "vulnerability"}
    place.write_bytes(b"".join([*whole[:4], whole[5], whole[5]]))
    assert database.read_releases(place, "") == (frozenset(), "page 4 is another")


def test_a_report_that_cannot_be_kept_counts_even_so(bench: Bench) -> None:
    """As on a full disk, or where another scan writes the same."""
    settings = SETTINGS.model_copy(update={"root": bench.folder})
    place = database.cache_folder(settings) / "reports"
    place.parent.mkdir(parents=True)
    place.write_text("in its place")
    assert set(results(bench.look(IMAGE)).values()) == {"PASS"}


def test_an_image_called_checkout_is_not_taken_for_the_checkout(bench: Bench) -> None:
    """An app without locks leaves those out, not what is vulnerable in an image of a shop."""
    bench.database = None
    settings = SETTINGS.model_copy(update={"scan": SETTINGS.scan.model_copy(update={"skip": ["locks"]})})
    assert results(without_skipped(bench.look("checkout"), settings))["vulnerabilities"] == "UNKNOWN"


def test_the_record_of_a_pass_says_when_its_first_waiver_ends() -> None:
    finding = Finding("vulnerabilities", "CVE-1", "HIGH", IMAGE, "bad")
    accepted = [
        Waiver("vulnerabilities", "CVE-1", "why", "ann", date(2027, month, 1), paths=paths)
        for month, paths in ((3, ("other",)), (5, (IMAGE,)))
    ]
    inspection = Inspection("vulnerabilities", IMAGE, findings=(finding,))
    judged = [judge.judge(inspection, accepted, {}, SETTINGS)]
    scan = summarize(ScannedImage(IMAGE, "sha256:aa", "sha256:bb"), "r1", judged, DATA)
    assert (scan.result, scan.until) == ("PASS", date(2027, 5, 1))
