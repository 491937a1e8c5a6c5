"""Promise: a gate that could not look says UNKNOWN, whatever its scanner does; and a finding says what fixes it."""

from __future__ import annotations

import json
import os
import re
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deploy.config.sections import Scan
from deploy.core.errors import Refused
from deploy.security import database, judge, linters, programs, trivy
from deploy.security.findings import ScannedImage, Unreadable
from deploy.security.scan import summarize
from tests.support.scanning import (
    DATA,
    FLASK,
    FRESH,
    NOW,
    SETTINGS,
    WHOLE,
    Bench,
    Here,
    answer,
    inspections_of,
    results,
)


def absent(bench: Bench) -> None:
    bench.program.unlink()


def crashed(bench: Bench) -> None:
    bench.answers(answer(), f'cat "{bench.folder}/answer.json"; exit 2')


def hung(bench: Bench) -> None:
    bench.answers(answer(), "exec sleep 60")


def new_shape(bench: Bench) -> None:
    first, second = answer()["Results"]
    bench.answers(answer(Results=[first, second | {"Weaknesses": [FLASK]}]))


def no_database(bench: Bench) -> None:
    bench.database = None


def stale(bench: Bench) -> None:
    bench.database = {**FRESH, "UpdatedAt": "2026-11-23T06:00:00Z"}


BLIND = [absent, crashed, hung, new_shape, no_database, stale]


@pytest.mark.parametrize("image", ["bookreader/backend", "bookreader/frontend"])
@pytest.mark.parametrize("fault", BLIND, ids=[fault.__name__ for fault in BLIND])
def test_a_blinded_scan_is_unknown_and_says_why(bench: Bench, fault: Any, image: str) -> None:
    """Twelve of twelve; and none of them is a PASS on record, which is what a deploy asks for."""
    fault(bench)
    inspections = bench.look(image)
    assert results(inspections)["vulnerabilities"] == "UNKNOWN"
    judged = [judge.judge(inspection, (), {}, SETTINGS) for inspection in inspections]
    assert summarize(ScannedImage(image, "sha256:aa", "sha256:bb"), "r1", judged, DATA).result == "UNKNOWN"
    assert next(inspection.unknown for inspection in inspections if inspection.kind == "vulnerabilities")
    if fault is hung:
        assert inspections[0].unknown == "`trivy` ended with 124: no end after 1 s"
    if fault not in (no_database, stale):  # of these the database's own row says what to do
        assert all(inspection.then for inspection in inspections)
        assert set(results(inspections).values()) == {"UNKNOWN"}


def test_another_version_is_asked_itself_and_not_answered_for_by_the_one_before(bench: Bench) -> None:
    """Its answer is read where it has the shape that is known here, else it is UNKNOWN."""
    assert results(bench.look("app"))["vulnerabilities"] == "PASS"
    for version, document, result in (
        ("0.76.0", answer(found=True), "PASS"), ("0.77.0", answer(found=True), "FAIL"),
        ("1.0.0", answer(SchemaVersion=3), "UNKNOWN")
    ):  # fmt: skip
        bench.answers(document, version=version)
        assert results(bench.look("app"))["vulnerabilities"] == result, version


def test_one_that_sees_passes_and_one_that_finds_fails(bench: Bench) -> None:
    inspections = bench.look("app")
    assert results(inspections) == {"vulnerabilities": "PASS", "end-of-life": "PASS", "secrets": "PASS"}
    assert (inspections[0].scope, inspections[0].age) == ("2 Debian, 1 pip packages", "6 h old")


@pytest.mark.parametrize(
    ("document", "of"),
    [
        ("no JSON", "did not answer in JSON"),
        ("[]", "shape"),
        (answer(SchemaVersion=3), "schema 3"),
        ({"SchemaVersion": 2}, "ArtifactName"),
        (answer(Results=[{"Target": "x", "Class": "os-pkgs", "Vulnerabilities": [{"ID": "CVE-1"}]}]), "Results.0"),
    ],
)
def test_an_answer_of_another_shape_is_not_read(document: object, of: str) -> None:
    with pytest.raises(Unreadable, match=of):
        trivy.read(document if isinstance(document, str) else json.dumps(document))


def test_an_image_in_which_nothing_was_looked_at_is_unknown() -> None:
    """Trivy exits 0 for one without /etc/debian_version: no distribution, no package, nothing found."""
    empty = answer(Results=[], Metadata={"DiffIDs": ["sha256:1"]})
    assert results(inspections_of(empty))["vulnerabilities"] == "UNKNOWN"
    assert results(inspections_of(empty, packageless=True))["vulnerabilities"] == "PASS"
    assert results(inspections_of(answer(Metadata={}), packageless=True))["secrets"] == "UNKNOWN"
    assert results(inspections_of(answer(), least=3))["vulnerabilities"] == "UNKNOWN"


def test_a_distribution_without_advisories_is_unknown_and_an_old_one_fails() -> None:
    testing = answer(Metadata={"OS": {"Family": "debian", "Name": "forky/sid"}, "DiffIDs": ["sha256:1"]})
    assert results(inspections_of(testing)) == {
        "vulnerabilities": "UNKNOWN",
        "end-of-life": "UNKNOWN",
        "secrets": "PASS",
    }
    old = answer(Metadata={"OS": {"Family": "debian", "Name": "9.1", "EOSL": True}, "DiffIDs": ["sha256:1"]})
    assert results(inspections_of(old))["end-of-life"] == "FAIL"


def test_a_vulnerability_names_the_command_that_fixes_it() -> None:
    (finding,) = inspections_of(answer(found=True))[0].findings
    assert (finding.subject, finding.fixed, finding.then) == (
        "flask 1.0", "2.0, 3.0", "flask>=2.0 in requirements.in, then lock again",
    )  # fmt: skip
    assert results(inspections_of(answer(found=True)))["vulnerabilities"] == "FAIL"


@pytest.mark.parametrize(
    ("metadata", "unknown"),
    [(None, "no vulnerability database"), ("{", "damaged"), ('{"Version": 2}', "damaged"), (json.dumps(FRESH), "")],
)
def test_the_database_is_judged_by_its_own_words(metadata: str | None, unknown: str) -> None:
    judged = trivy.database(metadata, NOW, 48)
    assert unknown in judged.unknown
    assert bool(judged.unknown) is bool(unknown)
    assert trivy.database(json.dumps(FRESH), NOW + timedelta(hours=43), 48).unknown
    assert "yet to come" in trivy.database(json.dumps(FRESH), NOW - timedelta(days=1), 48).unknown


def test_a_database_in_a_folder_is_taken_again_when_it_is_another(bench: Bench) -> None:
    """One that is gone, or half there, leaves none: not an old one that nobody meant."""
    source = bench.folder / "brought" / "db"
    settings = SETTINGS.model_copy(update={"scan": Scan(databases=[str(source.parent)])})
    assert database.update(settings, Here(), now=NOW)[0].unknown == "no vulnerability database"
    source.mkdir(parents=True)
    for day in ("29", "30"):
        (source / "trivy.db").write_bytes(WHOLE + day.encode())
        (source / "metadata.json").write_text(json.dumps({**FRESH, "UpdatedAt": f"2026-11-{day}T10:00:00Z"}))
        data, failed = database.update(settings, Here(), now=NOW)
        assert (data.updated[8:10], data.unknown, failed) == (day, "", "")
        assert (database.cache_folder(settings) / "db" / "trivy.db").read_bytes() == WHOLE + day.encode()
    (source / "metadata.json").unlink()
    data, failed = database.update(settings, Here(), now=NOW)
    assert data.unknown == "no vulnerability database"
    assert "metadata.json" in failed


HALF = {
    "nothing": (b"", "is no database"),
    "half a page": (WHOLE[:50], "is no database"),
    "the first pages": (WHOLE[:8192], f"has 8192 of {len(WHOLE)} bytes"),
    "all but a byte": (WHOLE[:-1], f"has {len(WHOLE) - 1} of {len(WHOLE)} bytes"),
    "the rest is empty": (WHOLE[:16384] + bytes(80000), "is empty at its end"),
    "text": (b"<html>not found</html>" * 500, "is no database"),
    "a folder": (None, "Is a directory"),
}


@pytest.mark.parametrize(("content", "words"), HALF.values(), ids=HALF)
def test_a_database_whose_copy_was_cut_off_is_unknown_until_it_is_whole(
    bench: Bench, content: bytes | None, words: str
) -> None:
    """Whatever its metadata says; the next scan takes the whole one, of the same time, in its place."""
    source = bench.folder / "brought" / "db"
    source.mkdir(parents=True)
    (source / "metadata.json").write_text(json.dumps(FRESH))
    settings = SETTINGS.model_copy(update={"scan": Scan(databases=[str(source.parent)])})
    missing = database.update(settings, Here(), now=NOW)[0].unknown
    assert missing == "the vulnerability database is not whole: trivy.db: No such file or directory"
    if content is None:
        (source / "trivy.db").mkdir()
    else:
        (source / "trivy.db").write_bytes(content)
    assert words in database.update(settings, Here(), now=NOW)[0].unknown
    shutil.rmtree(source / "trivy.db") if content is None else None
    (source / "trivy.db").write_bytes(WHOLE)
    assert database.update(settings, Here(), now=NOW)[0].unknown == ""


def test_a_database_in_a_folder_that_is_older_than_its_metadata_is_unknown_until_it_is_there(bench: Bench) -> None:
    """As while it is copied into the folder, file by file: its age would be that of data which is not here yet."""
    source = bench.folder / "brought" / "db"
    source.mkdir(parents=True)
    (source / "trivy.db").write_bytes(WHOLE + b"old")
    (source / "metadata.json").write_text(json.dumps(FRESH))
    before = datetime.fromisoformat(str(FRESH["UpdatedAt"])).timestamp() - 3600
    os.utime(source / "trivy.db", (before, before))
    settings = SETTINGS.model_copy(update={"scan": Scan(databases=[str(source.parent)])})
    assert "trivy.db was written at" in database.update(settings, Here(), now=NOW)[0].unknown
    (source / "trivy.db").write_bytes(WHOLE + b"new")
    assert database.update(settings, Here(), now=NOW)[0].unknown == ""
    assert (database.cache_folder(settings) / "db" / "trivy.db").read_bytes() == WHOLE + b"new"


def test_a_busy_registry_is_asked_again_and_another_fault_is_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waited = list[float]()
    monkeypatch.setattr(database, "PAUSES", (0.1, 0.2))
    monkeypatch.setattr("deploy.security.database.time", SimpleNamespace(sleep=waited.append))
    bench.database = None
    for words, pauses in (("TOOMANYREQUESTS", [0.1, 0.2]), ("no such host", [])):
        bench.answers("", f"echo 'FATAL {words}' >&2; exit 1")
        waited.clear()
        inspections = bench.look("app")
        assert waited == pauses
        assert inspections[0].unknown
    assert "again in" in capsys.readouterr().err


def test_where_the_first_mirror_does_not_answer_the_next_is_asked(bench: Bench) -> None:
    """Trivy itself stops at one that refuses the connection."""
    place = f"{bench.folder}/asked"
    bench.answers("", f'echo "$*" >>{place}; case "$*" in *good*) exit 0;; esac; echo "FATAL refused" >&2; exit 1')
    scan = Scan(databases=["bad:2", "good:2", "never:2"], programs={"trivy": str(bench.program)})
    assert database.fetch(SETTINGS.model_copy(update={"scan": scan}), Here()) == ""
    asked = [re.findall(r"--db-repository=(\S+)", line) for line in Path(place).read_text().splitlines()]
    assert asked == [["bad:2"], ["good:2"]]
    scan = scan.model_copy(update={"databases": ["bad:2", "worse:2"]})
    assert database.fetch(SETTINGS.model_copy(update={"scan": scan}), Here()).count("FATAL refused") == 2


CHOSEN: dict[str, tuple[Any, Any]] = {
    "dockerfiles": (
        [{"code": "DL3000", "column": 1, "file": "D", "level": "error", "line": 3, "message": "m"}], {"a": []},
    ),
    "shell": (
        {"comments": [{"file": "a.sh", "line": 1, "level": "error", "code": 2086, "message": "m"}]}, {"notes": []},
    ),
    "workflows": (
        [{"ident": "artipacked", "desc": "d", "url": "u", "ignored": False, "determinations": {"severity": "High"},
          "locations": [{"symbolic": {"kind": "Primary", "key": {"Local": {"verbatim_path": "a.yml"}}},
                         "concrete": {"location": {"start_point": {"row": 0}}}}]}],
        [{"ident": "artipacked", "desc": "d", "url": "u", "ignored": False, "determinations": {"severity": "Dire"},
          "locations": []}],
    ),
    "actions": ([{"message": "m", "filepath": "a.yml", "line": 1, "kind": "k"}], None),
}  # fmt: skip


@pytest.mark.parametrize("linter", linters.LINTERS, ids=lambda one: one.program)
def test_linters_are_judged_by_what_they_answer(linter: linters.Linter) -> None:
    one, other = CHOSEN[linter.kind]
    assert [finding.severity for finding in linter.findings(json.dumps(one))] == ["HIGH"]
    for strange in (json.dumps(other), "", "{}", "oh no"):
        with pytest.raises(Unreadable):
            linter.findings(strange)


def test_no_image_is_a_pass_of_which_nothing_was_looked_at() -> None:
    assert summarize(ScannedImage("app", "sha256:aa", "sha256:bb"), "r1", [], DATA).result == "UNKNOWN"


def test_every_scanner_that_is_missing_is_named_with_what_installs_it() -> None:
    """As `inv doctor` shows it."""
    nowhere = {name: f"/nowhere/{name}" for name in programs.PROGRAMS}
    with pytest.raises(Refused) as missing:
        programs.require_programs(SETTINGS.model_copy(update={"scan": Scan(programs=nowhere)}))
    assert all(f"{name} is not installed at /nowhere/{name}" in missing.value.what for name in nowhere)
    assert "scripts/bootstrap.py" in missing.value.then
