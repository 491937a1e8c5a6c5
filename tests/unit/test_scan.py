"""Promise: a gate that could not look says UNKNOWN, whatever its scanner does; and a finding says what fixes it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from deploy.config import checkout as source
from deploy.config.loader import load
from deploy.config.sections import Scan
from deploy.config.settings import Settings
from deploy.core.errors import GateClosed, Refused
from deploy.core.shell import Command, Script
from deploy.hosts.local import LocalHost
from deploy.images import build
from deploy.images.archive import Archived
from deploy.images.inventory import ImageTransfer
from deploy.security import database, inspect, judge, linters, programs, report, trivy, waivers
from deploy.security.findings import CHECKOUT, Finding, Inspection, ScannedImage, Unreadable
from deploy.security.judge import Strict
from deploy.security.scan import Scanned, require_file, summarize, without_skipped
from deploy.security.trivy import Data
from tests.support.advisories import ADVISORIES, Pages

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
FRESH = {"Version": 2, "UpdatedAt": "2026-11-30T06:00:00Z", "NextUpdate": "2026-12-01T06:00:00Z"}
DATA = Data(6, "2026-11-30T06:00:00Z")
SETTINGS = load("local")
WHOLE = Pages().file(ADVISORIES)
FLASK = {
    "VulnerabilityID": "CVE-2999-1", "PkgName": "flask", "InstalledVersion": "1.0", "FixedVersion": "2.0, 3.0",
    "Severity": "CRITICAL", "Title": "bad", "PkgIdentifier": {"PURL": "pkg:pypi/flask@1.0"},
    "PkgPath": "venv/flask/METADATA",
}  # fmt: skip


def answer(*, found: bool = False, **more: Any) -> dict[str, Any]:
    """What Trivy 0.76 answers for a small image."""
    python = {"Target": "Python", "Class": "lang-pkgs", "Type": "python-pkg", "Packages": [{"Name": "flask"}]}
    return {
        "SchemaVersion": 2, "ArtifactName": "folder",
        "Metadata": {"Size": 9_000_000, "OS": {"Family": "debian", "Name": "12.12"}, "DiffIDs": ["sha256:1"],
                     "ImageID": "sha256:bb"},
        "Results": [{"Target": "folder (debian 12.12)", "Class": "os-pkgs", "Type": "debian",
                     "Packages": [{"Name": "zlib"}, {"Name": "libc"}]},
                    python | ({"Vulnerabilities": [FLASK]} if found else {})],
        **more,
    }  # fmt: skip


class Here(LocalHost):
    """This machine; the engine's images are not asked for."""

    def run(self, command: Command, *, stdin: str | None = None, timeout: float = 600) -> str:
        return "" if isinstance(command, Script) else super().run(command, stdin=stdin, timeout=timeout)


class Bench:
    """A fake Trivy, a database's metadata, and an image to look into."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.program = folder, folder / "trivy"
        monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        self.database: dict[str, Any] | None = FRESH
        self.answers(answer())

    def answers(self, document: object, script: str = "", version: str = "0.76.0") -> None:
        """Have Trivy answer so, or do what a script says."""
        (self.folder / "answer.json").write_text(document if isinstance(document, str) else json.dumps(document))
        body = script or f'case "$1" in --version) echo Version: {version};; *) cat "{self.folder}/answer.json";; esac'
        self.program.write_text(f"#!/bin/sh\n{body}\n")
        self.program.chmod(0o755)

    def look(self, name: str) -> list[Inspection]:
        """Inspection into an image as `inv scan` does."""
        chosen = {"programs": {"trivy": str(self.program)}, "within": 1.0}
        settings = SETTINGS.model_copy(update={"root": self.folder, "scan": Scan.model_validate(chosen)})
        if self.database is not None:
            place = database.cache_folder(settings) / "db" / "metadata.json"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(json.dumps(self.database))
            place.with_name("trivy.db").write_bytes(WHOLE)
        data, _ = database.update(settings, Here(), now=NOW)
        image = ImageTransfer(name, name, Archived(digest="sha256:aa", config="sha256:bb", layers=()))
        return inspect.image(image, settings, Here(), data)[0]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def results(inspections: list[Inspection]) -> dict[str, str]:
    """What each check comes to."""
    return {inspection.kind: judge.judge(inspection, (), {}, SETTINGS).result for inspection in inspections}


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
        ("0.76.0", answer(found=True), "PASS"), ("0.77.0", answer(found=True), "FAIL"), ("1.0.0", answer(SchemaVersion=3), "UNKNOWN")
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


def inspections_of(document: dict[str, Any], *, least: int = 2, packageless: bool = False) -> list[Inspection]:
    return trivy.image_inspections(trivy.read(json.dumps(document)), "app", DATA, least=least, packageless=packageless)


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


def test_a_linter_without_a_file_to_look_at_is_unknown(tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"root": tmp_path})
    inspection = inspect.lint(linters.LINTERS[0], settings, LocalHost(), ["README.md"])
    assert "no file" in inspection.unknown
    assert 'scan.skip = ["dockerfiles"]' in inspection.then


def checked(result: dict[str, Any]) -> dict[str, Any]:
    """What `docker buildx bake --call=check,format=json` answers for one target, by the source of buildx 0.30."""
    built = {"context": "backend", "dockerfile": "../docker/a.Dockerfile"}
    return {"group": {"default": {"targets": ["a"]}}, "target": {"a": {"build": built, "check": result}}}


def test_buildkit_says_null_of_a_clean_dockerfile_and_one_that_it_could_not_check_is_no_pass() -> None:
    assert linters.build_check(checked({"warnings": None, "sources": None})) == []
    failures: list[dict[str, Any]] = [
        {"warnings": None, "buildError": {"message": "no such image"}},
        {"error": "no such image"},
    ]
    for failed in failures:
        with pytest.raises(Unreadable, match=r"could not check docker/a\.Dockerfile: no such image"):
            linters.build_check(checked(failed))
    shapes = [checked({"sources": []}), checked({"warnings": {}}), dict[str, Any](target={"a": {"build": {}}})]
    for strange in shapes:
        with pytest.raises(Unreadable):
            linters.parse("BuildKit", json.dumps(strange), linters.build_check)


BUILDX = """case "$*" in
*--help) echo "%s" ;;
*--print*) echo '{"target": {"a": {"tags": ["app/a"]}}}' ;;
*version) echo github.com/docker/buildx 0.13.1 ;;
*--call=check*) case "$BUILDX_BUILDER $*" in default*contexts.python=docker-image://*) cat answer.json ;; *) exit 1 ;; esac
  [ -s answer.json ] || { echo "ERROR: target a: unsupported request frontend.lint" >&2; exit 1; } ;;
*) exit 1 ;;
esac"""


@pytest.mark.parametrize(
    ("options", "answer", "unknown"),
    [
        ("--call", checked({"warnings": None}), ""),
        ("--call", {"target": {}}, "no target"),
        ("--call", {}, "shape"),
        ("--call", "", "BuildKit checked nothing: ERROR: target a: unsupported request frontend.lint"),
        ("--call", checked({"error": "no such image"}), "BuildKit could not check docker/a.Dockerfile: no such image"),
        ("--call", {"target": {"b": checked({"warnings": None})["target"]["a"]}}, "BuildKit says nothing of a"),
        ("--print", {}, "buildx 0.13.1 has no `bake --call=check`"),
    ],
)
def test_the_build_check_is_given_the_base_images_and_passes_only_what_it_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, answer: dict[str, Any] | str, unknown: str
) -> None:
    (tmp_path / "docker").write_text(f"#!/bin/sh\n{BUILDX % options}\n")
    (tmp_path / "docker").chmod(0o755)
    (tmp_path / "answer.json").write_text(answer if isinstance(answer, str) else json.dumps(answer))
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(build, "contexts", lambda *_: ["python"])
    monkeypatch.setattr(source, "read", lambda *_: source.Checkout("c", "2026-11-30T00:00:00Z"))
    monkeypatch.setenv("BUILDX_BUILDER", "of the shell")
    settings = SETTINGS.model_copy(update={"root": tmp_path})
    inspection = inspect.build_check(settings, LocalHost())
    assert unknown in inspection.unknown
    assert bool(inspection.unknown) is bool(unknown)
    assert "Unreadable(" not in inspection.unknown, "one reason is no part of another"
    assert unknown or inspection.scope == "1 targets, by BuildKit"


def test_a_report_that_could_not_be_written_is_refused_before_the_scan(tmp_path: Path) -> None:
    assert require_file(f"{tmp_path}/new.sarif") == tmp_path / "new.sarif"
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "none" / "a.sarif", "there is no folder")):
        with pytest.raises(Refused, match=words):
            require_file(str(path))


@pytest.mark.parametrize("path", ["a/Dockerfile.prod", "a/Containerfile", "Containerfile.dev", "b.Dockerfile"])
def test_a_dockerfile_is_one_in_every_folder(path: str) -> None:
    assert linters.LINTERS[0].chooses(path, "")
    assert not linters.LINTERS[0].chooses(f"{path}.dockerignore", "")


def test_a_file_that_cannot_be_read_is_unknown_and_one_that_looks_like_an_option_is_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def closed(path: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    settings = SETTINGS.model_copy(update={"root": tmp_path})
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    (tmp_path / "-a.sh").write_text("#!/bin/sh\n")
    assert inspect.tracked(settings, LocalHost()) == ["./-a.sh"]
    monkeypatch.setattr(inspect, "first_line", closed)
    inspection = inspect.lint(linters.LINTERS[1], settings, LocalHost(), ["./-a.sh"])
    assert "-a.sh cannot be read: Permission denied" in inspection.unknown


def test_what_gitleaks_and_buildkit_say_is_read() -> None:
    leak = {"RuleID": "r", "Description": "d", "Commit": "c" * 40, "File": "f", "StartLine": 2}
    assert linters.gitleaks([leak])[0].severity == "CRITICAL"
    warned = {"ruleName": "R", "detail": "d", "url": "u", "location": {"ranges": [{"start": {"line": 4}}]}}
    (finding,) = linters.build_check(checked({"warnings": [warned]}))
    assert (finding.path, finding.line) == ("docker/a.Dockerfile", 4)
    for program, read in (("gitleaks", linters.gitleaks), ("BuildKit", linters.build_check)):
        with pytest.raises(Unreadable):
            linters.parse(program, "{}", read)


def test_what_an_app_has_none_of_is_left_out_and_images_never_are() -> None:
    """What is found even so is not."""
    settings = SETTINGS.model_copy(update={"scan": Scan(skip=["locks", "shell"])})
    blind = [
        Inspection("vulnerabilities", CHECKOUT, unknown="no lock"),
        Inspection("shell", CHECKOUT, unknown="no script"),
        Inspection("vulnerabilities", "app", unknown="no database"),
        Inspection("secrets", CHECKOUT, unknown="no file"),
    ]
    left = [(one.kind, one.where) for one in without_skipped(blind, settings)]
    assert left == [("vulnerabilities", "app"), ("secrets", CHECKOUT)]
    bad = Inspection("shell", CHECKOUT, findings=(Finding("shell", "SC1", "HIGH", CHECKOUT, "m"),))
    assert without_skipped([bad], settings) == [bad]
    with pytest.raises(ValidationError):
        Scan.model_validate({"skip": ["vulnerabilities"]})


WAIVER = """
[[vulnerabilities]]
id = "CVE-2999-1"
purls = ["pkg:pypi/flask"]
statement = "the function is not called"
owner = "ana"
expired_at = 2026-12-31
"""
TODAY = date(2026, 11, 30)


def read(root: Path, text: str) -> waivers.Waivers:
    (root / "deploy").mkdir(exist_ok=True)
    (root / waivers.FILE).write_text(text)
    return waivers.read(root, TODAY)


def test_a_waiver_lets_one_finding_through(tmp_path: Path) -> None:
    valid, inspections = read(tmp_path, WAIVER).valid, inspections_of(answer(found=True))
    judged = judge.judge(inspections[0], valid, {}, SETTINGS)
    assert judged.result == "PASS"
    assert [waiver.owner for _, waiver in judged.waived] == ["ana"]
    assert judge.judge_waivers(read(tmp_path, WAIVER), inspections, {}).result == "PASS"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('owner = "ana"\n', ""), "CVE-2999-1: owner is missing"),
        (('statement = "the function is not called"\n', 'statement = " "\n'), "statement is missing"),
        (("expired_at = 2026-12-31\n", ""), "expired_at must be a date"),
        (("2026-12-31", '"soon"'), "expired_at must be a date"),
        (("2026-12-31", "2026-11-30"), "it expired on 2026-11-30"),
        (("2026-12-31", "2026-11-29T10:00:00Z"), "it expired on 2026-11-29"),
        (("2026-12-31", "2026-12-01T00:30:00+14:00"), "it expired on 2026-11-30"),
        (('["pkg:pypi/flask"]', "[]"), "purls names nothing; without it everything is accepted"),
        (("owner =", "ownr ="), "unknown key ownr; did you mean owner?"),
        (('["pkg:pypi/flask"]', '"pkg:pypi/flask"'), "purls must be a list"),
        (("[[vulnerabilities]]", "[[vulnerabilites]]"), "did you mean vulnerabilities?"),
        (("[[vulnerabilities]]", "[vulnerabilities]"), "under a line [[vulnerabilities]] with double brackets"),
        ((WAIVER, 'vulnerabilities = ["CVE-2999-1"]'), "under a line [[vulnerabilities]] with double brackets"),
        ((WAIVER, "vulnerabilities = [1]"), "under a line [[vulnerabilities]] with double brackets"),
        ((WAIVER, 'vulnerabilities = "CVE-2999-1"'), "under a line [[vulnerabilities]] with double brackets"),
        (("[[vulnerabilities]]", "[[history]]"), "commits is missing"),
        (("purls =", "commits ="), "commits is for [[history]] alone"),
        (("pkg:pypi/flask", "pkg:pypi/django"), "it accepts nothing"),
    ],
)
def test_a_waiver_that_is_wrong_fails_by_name(tmp_path: Path, change: tuple[str, str], words: str) -> None:
    """And lets nothing through."""
    given, inspections = read(tmp_path, WAIVER.replace(*change)), inspections_of(answer(found=True))
    judged = judge.judge_waivers(given, inspections, {})
    assert judged.result == "FAIL"
    assert words in report.described(judged.blocking[0])
    assert judge.judge(inspections[0], given.valid, {}, SETTINGS).result == "FAIL"


def test_a_waiver_that_was_wrong_before_warns_by_name_and_one_that_is_new_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a report that is the base of another; for prod, main and tags no base is taken."""
    inspections = inspections_of(answer(found=True))
    expired = WAIVER.replace("2026-12-31", "2026-11-30")
    first = judge.judge_waivers(read(tmp_path, expired), inspections, {})
    base = Counter(finding.fingerprint for finding in first.blocking)
    again = judge.judge_waivers(read(tmp_path, expired), inspections, base)
    assert (first.result, again.result, again.without_base) == ("FAIL", "PASS", "FAIL")
    report.show(replace(scanned([]), judged=(again,)), json=False)
    warned = capsys.readouterr().err
    assert "! deploy/waivers.toml: vulnerabilities/CVE-2999-1: it expired on 2026-11-30" in warned
    assert "it was there before, and fails on main and for a release" in warned
    other = WAIVER.replace("CVE-2999-1", "CVE-2999-2")
    for more in (expired + expired, expired + other, other):
        assert len(judge.judge_waivers(read(tmp_path, more), inspections, base).blocking) == 1, more


LEAK = {"RuleID": "aws", "Description": "a key", "Commit": "c" * 40, "File": ".env", "StartLine": 2}


def test_a_leak_that_is_accepted_accepts_no_other_of_the_same_file(tmp_path: Path) -> None:
    """Neither by a waiver, nor by the report of an earlier scan."""
    text = WAIVER.replace("vulnerabilities", "history").replace("CVE-2999-1", "aws")
    given = read(tmp_path, text.replace('purls = ["pkg:pypi/flask"]', f'paths = [".env"]\ncommits = ["{"c" * 40}"]'))
    old, new = linters.gitleaks([LEAK, LEAK | {"Commit": "d" * 40}])
    judged = judge.judge(Inspection("history", CHECKOUT, findings=(old, new)), given.valid, {}, SETTINGS)
    assert ([one for one, _ in judged.waived], judged.blocking) == ([old], (new,))
    assert old.fingerprint != new.fingerprint


def test_a_waiver_is_not_called_unused_where_nobody_could_look(tmp_path: Path) -> None:
    blind = [replace(inspection, unknown="no database", findings=()) for inspection in inspections_of(answer())]
    assert judge.judge_waivers(read(tmp_path, WAIVER), blind, {}).result == "PASS"


@pytest.mark.parametrize(
    ("purl", "matches"),
    [("pkg:pypi/flask", True), ("pkg:pypi/flask@1.0", True), ("pkg:pypi/flask@1", False), ("pkg:pypi/fla", False)],
)
def test_a_package_url_without_a_version_is_every_version(purl: str, matches: bool) -> None:
    assert waivers.names(purl, "pkg:pypi/flask@1.0") is matches


def scanned(inspections: list[Inspection], *, strict: bool = False, base: Mapping[str, int] | None = None) -> Scanned:
    judged = [judge.judge(inspection, (), base or {}, SETTINGS) for inspection in inspections]
    image = ScannedImage("app", "sha256:aa", "sha256:bb")
    scan = summarize(image, "r1", judged, DATA)
    how = Strict(strict, "a test")
    return Scanned("local", "r1", tuple(judged), ((image, scan),), how, DATA, (), 1.0, {})


def test_only_new_findings_block_with_a_base_report_and_all_of_them_a_release(tmp_path: Path) -> None:
    """The report of `inv scan --json` is the base of the next; what is recorded of the image excuses nothing."""
    first = scanned(inspections_of(answer(found=True)))
    base = tmp_path / "base.json"
    base.write_text(json.dumps(report.document(first)))
    earlier = report.fingerprints(str(base), Strict(False, ""))
    again = scanned(inspections_of(answer(found=True)), base=earlier)
    assert [one.result for one in again.judged] == ["PASS", "PASS", "PASS"]
    assert again.images[0][1].result == "FAIL"
    other = [replace(inspection, where="other") for inspection in inspections_of(answer(found=True))]
    other = [
        replace(inspection, findings=tuple(replace(f, where="other") for f in inspection.findings))
        for inspection in other
    ]
    assert scanned(other, base=earlier).judged[0].result == "FAIL"
    twice = [replace(inspection, findings=inspection.findings * 2) for inspection in inspections_of(answer(found=True))]
    assert scanned(twice, base=earlier).judged[0].result == "FAIL", (
        "a second one of the same kind in the same file is new"
    )
    lower = [
        replace(inspection, findings=tuple(replace(f, severity="LOW") for f in inspection.findings))
        for inspection in inspections_of(answer(found=True))
    ]
    base.write_text(json.dumps(report.document(scanned(lower))))
    assert not report.fingerprints(str(base), Strict(False, "")), "what was less severe excuses nothing that is severe"
    with pytest.raises(Refused, match="excuses nothing"):
        report.fingerprints(str(base), Strict(True, "prod"))
    base.write_text("{}")
    with pytest.raises(Refused, match="no report"):
        report.fingerprints(str(base), Strict(False, ""))


def test_unknown_warns_or_fails_and_the_report_names_the_setting(capsys: pytest.CaptureFixture[str]) -> None:
    blind = [Inspection("secrets", "app", unknown="it hung", then="inv doctor")]
    report.show(scanned(blind), json=False)
    assert "UNKNOWN only warns here: a test" in capsys.readouterr().err
    with pytest.raises(GateClosed, match="secrets of app is UNKNOWN"):
        report.show(scanned(blind, strict=True), json=True)
    assert json.loads(capsys.readouterr().out)["unknown"] == {"fails": True, "by": "a test"}


@pytest.mark.parametrize(
    ("env", "strict", "environ", "fails", "by"),
    [
        ("local", None, {}, False, "neither prod nor main"),
        ("prod", None, {}, True, "--env=prod"),
        ("prod", False, {}, False, "scan.strict = false"),
        ("local", True, {}, True, "scan.strict = true"),
        ("local", None, {"CI": "true", "GITHUB_REF": "refs/heads/main"}, True, "refs/heads/main"),
        ("local", None, {"CI": "true", "GITHUB_REF": "refs/tags/v1"}, True, "refs/tags/v1"),
        ("local", None, {"CI": "true", "GITHUB_REF": "refs/pull/1/merge"}, False, "neither"),
    ],
)
def test_which_setting_decides_about_unknown(
    env: str, strict: bool | None, environ: dict[str, str], fails: bool, by: str
) -> None:
    settings: Settings = SETTINGS.model_copy(update={"env": env, "scan": Scan(strict=strict)})
    decided = judge.strictness(settings, environ)
    assert decided.fails is fails
    assert by in decided.by


def uri(finding: Finding) -> str:
    (place,) = report.sarif_result(finding, "blocks")["locations"]
    return str(place["physicalLocation"]["artifactLocation"]["uri"])


def test_sarif_is_derived_from_the_same_findings() -> None:
    secret = Finding("secrets", "aws-key", "HIGH", CHECKOUT, "a key", "deploy/app.toml", 7)
    result = scanned(
        [*inspections_of(answer(found=True)), Inspection("secrets", CHECKOUT, "3 files", findings=(secret,))]
    )
    (run,) = report.sarif_of(result)["runs"]
    assert {one["ruleId"] for one in run["results"]} == {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    place = run["results"][-1]["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == ("deploy/app.toml", 7)
    assert uri(replace(secret, path="a file.md")) == "a%20file.md"
    assert uri(replace(secret, where="postgres:15-bookworm")) == "images/postgres%3A15-bookworm"
    assert all(one["partialFingerprints"] and one["locations"] for one in run["results"])
    assert len(report.document(result)["findings"]) == len(run["results"]) == 2


def test_a_rule_in_sarif_is_as_severe_as_its_worst_finding() -> None:
    """GitHub takes the severity of the rule, and `ignored-inline` is one of two kinds."""
    mild = Finding("shell", "ignored-inline", "LOW", CHECKOUT, "a comment", "a.sh")
    severe = replace(mild, kind="misconfigurations", severity="HIGH")
    for findings in ((mild, severe), (severe, mild)):
        (run,) = report.sarif_of(scanned([Inspection(one.kind, CHECKOUT, findings=(one,)) for one in findings]))["runs"]
        (rule,) = run["tool"]["driver"]["rules"]
        assert rule["properties"]["security-severity"] == report.SCORES["HIGH"]


def test_no_image_is_a_pass_of_which_nothing_was_looked_at() -> None:
    assert summarize(ScannedImage("app", "sha256:aa", "sha256:bb"), "r1", [], DATA).result == "UNKNOWN"


def test_the_waivers_of_bookreader_are_whole() -> None:
    held = waivers.read(SETTINGS.root, TODAY)
    assert (held.mistakes, bool(held.valid)) == ((), True)


def test_every_scanner_that_is_missing_is_named_with_what_installs_it() -> None:
    """As `inv doctor` shows it."""
    nowhere = {name: f"/nowhere/{name}" for name in programs.PROGRAMS}
    with pytest.raises(Refused) as missing:
        programs.require_programs(SETTINGS.model_copy(update={"scan": Scan(programs=nowhere)}))
    assert all(f"{name} is not installed at /nowhere/{name}" in missing.value.what for name in nowhere)
    assert "scripts/bootstrap.py" in missing.value.then
